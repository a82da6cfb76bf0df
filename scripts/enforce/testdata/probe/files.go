//go:build amd64

package main

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ima is the attribute that holds a file's signature.
const ima = "security.ima"

func copyFile(args []string) error {
	contents, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[1], contents, 0o755); err != nil {
		return err
	}
	names := make([]byte, 64<<10)
	n, err := unix.Listxattr(args[0], names)
	if err != nil {
		return fmt.Errorf("listing the attributes of %s: %w", args[0], err)
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names[:n], []byte{0}), []byte{0}) {
		if err := copyAttribute(args[0], args[1], string(name)); err != nil {
			return err
		}
	}
	return nil
}

func label(args []string) error { return copyAttribute(args[0], args[1], ima) }

func copyAttribute(from, to, name string) error {
	if name == "" {
		return nil
	}
	value := make([]byte, 64<<10)
	n, err := unix.Getxattr(from, name, value)
	if err != nil {
		return fmt.Errorf("reading %s of %s: %w", name, from, err)
	}
	if err := unix.Setxattr(to, name, value[:n], 0); err != nil {
		return fmt.Errorf("setting %s of %s: %w", name, to, err)
	}
	return nil
}

func enableVerity(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	// struct fsverity_enable_arg: version 1, SHA-256, blocks of a page, no salt, no signature.
	arg := struct {
		version, hash, block, saltSize uint32
		salt                           uint64
		sigSize, _                     uint32
		sig                            uint64
		_                              [11]uint64
	}{version: 1, hash: 1, block: page}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return fmt.Errorf("enabling fs-verity on %s: %w", args[0], errno)
	}
	return nil
}
