package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/keys/private"
)

// TestNoRoom signs onto a file system that is too small.
func TestNoRoom(t *testing.T) {
	tool(t, "mke2fs", "imagetool")
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	root, image, small := filepath.Join(dir, "root"), filepath.Join(dir, "disk.raw"), filepath.Join(dir, "small")
	if err := errors.Join(os.Mkdir(small, 0o700), os.Mkdir(root, 0o700), os.WriteFile(filepath.Join(root, "file"), bytes.Repeat([]byte("x"), 2<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", root, image, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	if _, err := private.Generate(filepath.Join(dir, "key"), private.GenerateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting tmpfs: %v", err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	out, err := exec.Command("imagetool", "sign", "--key", filepath.Join(dir, "key/private.pem"), image, "--out", filepath.Join(small, "out")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left") || !strings.Contains(string(out), "hint: the output needs as much room") {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(small); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRoomHint: what else is short of room has no use for the hint.
func TestRoomHint(t *testing.T) {
	full := fmt.Errorf("writing: %w", unix.ENOSPC)
	if h := hint(full); h != "" {
		t.Errorf("any full device gets the hint %q", h)
	}
	if err := (&signFlags{}).roomHint(full); !errors.Is(err, unix.ENOSPC) || err == full {
		t.Errorf("no hint for an output: %v", err)
	}
	if err := (&signFlags{}).roomHint(unix.EIO); err != unix.EIO {
		t.Errorf("a hint for %v", err)
	}
}
