//go:build amd64

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const policyFile = "/sys/kernel/security/ima/policy"

// policy writes a policy line by line, as the kernel takes it. It is in force when the file is closed.
func policy(args []string) error {
	lines, err := os.Open(args[0])
	if err != nil {
		return err
	}
	to, err := unix.Open(policyFile, unix.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", policyFile, err)
	}
	scan := bufio.NewScanner(lines)
	for scan.Scan() {
		if _, err := unix.Write(to, append(scan.Bytes(), '\n')); err != nil {
			unix.Close(to)
			return fmt.Errorf("writing %q: %w", scan.Text(), err)
		}
	}
	if err := scan.Err(); err != nil {
		return err
	}
	return unix.Close(to)
}

// policyPath lets the kernel read the file itself.
func policyPath(args []string) error {
	path, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	to, err := unix.Open(policyFile, unix.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", policyFile, err)
	}
	if _, err := unix.Write(to, []byte(path)); err != nil {
		unix.Close(to)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return unix.Close(to)
}
