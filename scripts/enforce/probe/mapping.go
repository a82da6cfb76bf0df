//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

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

// mmapImplied is done if the mapping is executable.
func mmapImplied(args []string) error {
	if err := readImpliesExec(); err != nil {
		return err
	}
	m, err := mapFirst(args[0], os.O_RDONLY, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return executable(m)
}

// remapImplied is done if the mapping is executable afterwards.
func remapImplied(args []string) error {
	m, err := mapFirst(args[0], os.O_RDWR, unix.PROT_READ, unix.MAP_SHARED) // else it does not count as shared
	if err != nil {
		return err
	}
	if err := readImpliesExec(); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall6(unix.SYS_REMAP_FILE_PAGES, address(m), page, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("remap_file_pages: %w", errno)
	}
	return executable(m)
}

// readImpliesExec changes the personality of this thread, and keeps this goroutine on it.
func readImpliesExec() error {
	const flag = 0x0400000 // READ_IMPLIES_EXEC
	runtime.LockOSThread()
	if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, flag, 0, 0); errno != 0 {
		return fmt.Errorf("personality: %w", errno)
	}
	return nil
}

func address(m []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m))) }

// executable looks for a mapping among those that the kernel lists.
func executable(m []byte) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasPrefix(line, fmt.Sprintf("%x-", address(m))) {
			if fields := strings.Fields(line); strings.Contains(fields[1], "x") {
				return nil
			}
		}
	}
	return errors.New("the mapping is not executable")
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
