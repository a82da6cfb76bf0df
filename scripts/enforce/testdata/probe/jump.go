//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// jump lets a child call an address. What a user may not execute ends with SIGSEGV.
func jump(args []string) error {
	err := exec.Command("/proc/self/exe", "jump-child", args[0]).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("the child that jumped: %w", err)
	}
	status := exit.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return fmt.Errorf("the child ended with exit code %d", status.ExitStatus())
	}
	fmt.Println(unix.SignalName(status.Signal()))
	return nil
}

func jumpChild(args []string) error {
	address, err := strconv.ParseUint(args[0], 0, 64)
	if err != nil {
		return err
	}
	if err := defaultAction(unix.SIGSEGV); err != nil {
		return err
	}
	// A function value points to where its code's address is kept.
	code := uintptr(address)
	closure := &code
	(*(*func())(unsafe.Pointer(&closure)))()
	os.Exit(0)
	return nil
}

// defaultAction takes the signal from Go's own handler.
func defaultAction(signal unix.Signal) error {
	var action struct{ handler, flags, restorer, mask uintptr } // the kernel's struct sigaction: SIG_DFL
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction: %w", errno)
	}
	return nil
}
