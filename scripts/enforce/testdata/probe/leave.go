//go:build amd64

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newRoot makes a file system in memory the root of all processes of this mount namespace, with what the kernel offers mounted
// there, and lets go of the old one.
func newRoot() error {
	const root = "/tmp/root"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for _, m := range []struct{ kind, at string }{{"tmpfs", ""}, {"devtmpfs", "/dev"}, {"sysfs", "/sys"}} {
		if err := os.Mkdir(root+m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, root+m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.kind, err)
		}
	}
	for _, dir := range []string{"/old", "/mnt"} {
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(root+exe, nil, 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/old", unix.MNT_DETACH)
}

// exe is a file in memory that stands for a process's program when it has that nowhere else.
const exe = "/exe"
