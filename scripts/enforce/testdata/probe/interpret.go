//go:build amd64

package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// execveCheck is AT_EXECVE_CHECK (include/uapi/linux/fcntl.h, since 6.14): nothing is executed.
const execveCheck = 0x10000

// interpret asks the kernel about an open file, as an interpreter has to: its name may stand for another one by now.
func interpret(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	name := []byte(args[0] + "\x00")
	argv, env := []*byte{&name[0], nil}, []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, f.Fd(), uintptr(unsafe.Pointer(new([1]byte))),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH|execveCheck, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
