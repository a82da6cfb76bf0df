//go:build amd64

package main

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// fentry has a BPF program run whenever a function of the kernel is called, until something is written to a pipe.
func fentry(args []string) error {
	if err := unix.Mkfifo(args[1], 0o600); err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: args[0], License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	open := struct { // of union bpf_attr (include/uapi/linux/bpf.h)
		name   uint64
		progFD uint32
		_      uint32
	}{progFD: uint32(p.FD())}
	if _, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_RAW_TRACEPOINT_OPEN, uintptr(unsafe.Pointer(&open)), unsafe.Sizeof(open)); e != 0 {
		return e
	}
	fmt.Println("attached")
	_, err = os.ReadFile(args[1])
	return err
}
