//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const page = 4096

// mapFirst maps the first page of a file.
func mapFirst(path string, open, prot, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, open, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, page, prot, flags)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", path, err)
	}
	return m, nil
}

func mmapExec(args []string) error {
	_, err := mapFirst(args[0], os.O_RDONLY, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	return err
}

func mprotectExec(args []string) error {
	m, err := mapFirst(args[0], os.O_RDONLY, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
}

// writeExec keeps the shared mapping, so that the kernel still counts a writer when the file is mapped executable.
func writeExec(args []string) error {
	m, err := mapFirst(args[0], os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m[page-1] ^= 1
	return mmapExec(args)
}

func writeMapped(args []string) error {
	m, err := mapFirst(args[0], os.O_RDONLY, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	old := m[page-1]
	if _, err := f.WriteAt([]byte{old ^ 1}, page-1); err != nil {
		return err
	}
	if m[page-1] == old {
		return errors.New("the mapping kept its old contents")
	}
	return nil
}
