//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memfd executes a copy of a file that lies in memory only.
func memfd(args []string) error {
	contents, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	if _, err := unix.Write(fd, contents); err != nil {
		return fmt.Errorf("writing to the memfd: %w", err)
	}
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), args, os.Environ())
	return fmt.Errorf("executing the memfd: %w", err)
}

func initModule(args []string) error {
	image, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	return unix.InitModule(image, "")
}

func finitModule(args []string) error {
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.FinitModule(int(f.Fd()), "", 0), f.Close()); err != nil {
			return fmt.Errorf("loading %s: %w", name, err)
		}
	}
	return nil
}

// kexecLoad asks for the removal of a loaded kernel: harmless, and let or refused like loading one.
func kexecLoad([]string) error {
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, 0, 0, uintptr(unsafe.Pointer(nil)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("kexec_load: %w", errno)
	}
	return nil
}

func kexecFileLoad(args []string) error {
	kernel, err := os.Open(args[0])
	if err != nil {
		return err
	}
	initrd, err := os.Open(args[1])
	if err != nil {
		return err
	}
	if err := unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), args[2], 0); err != nil {
		return fmt.Errorf("kexec_file_load: %w", err)
	}
	return nil
}
