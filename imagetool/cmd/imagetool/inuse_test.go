package main

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/keys/private"
)

// TestInUse works on an image that a QEMU program has open for writing.
func TestInUse(t *testing.T) {
	tool(t, "mke2fs", "qemu-io", "imagetool")
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.raw")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", image, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	if _, err := private.Generate(filepath.Join(dir, "key"), private.GenerateOptions{}); err != nil {
		t.Fatal(err)
	}
	sign := []string{"sign", "--key", filepath.Join(dir, "key/private.pem"), image, "--out", filepath.Join(dir, "out")}
	verify := []string{"verify", "--trust", filepath.Join(dir, "key/cert.pem"), image}

	stop := holdWithQEMU(t, image)
	for _, args := range [][]string{sign, verify} {
		out, err := exec.Command("imagetool", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "in use") || !strings.Contains(string(out), "qemu-io (pid ") {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	out, err := exec.Command("imagetool", "inspect", image).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in use") {
		t.Errorf("inspect: %v\n%s", err, out)
	}

	stop()
	for _, args := range [][]string{sign, verify} {
		if out, err := exec.Command("imagetool", args...).CombinedOutput(); err != nil {
			t.Errorf("%s, when QEMU is gone: %v\n%s", args[0], err, out)
		}
	}
}

// holdWithQEMU opens the image in a qemu-io. Its first answer says that it has
// its locks.
func holdWithQEMU(t *testing.T, image string) (stop func()) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-f", "raw", image)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		stdin.Close()
		cmd.Wait()
	}
	t.Cleanup(stop)
	io.WriteString(stdin, "length\n")
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("qemu-io: %q, %v", line, err)
	}
	return stop
}
