package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/keys/private"
)

// TestSignals interrupts a signing run when it has begun its first output, the
// copy, and its second, the manifest, from which on it signs. What is there
// afterwards is what was there before.
func TestSignals(t *testing.T) {
	tool(t, "mke2fs", "imagetool")
	dir := t.TempDir()
	image := manyFiles(t, dir)
	if _, err := private.Generate(filepath.Join(dir, "key"), private.GenerateOptions{Bits: 4096}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("the signal is ignored here, and so in what is started from here")
			}
			out := t.TempDir()
			created := awaitCreations(t, out, i%2+1)
			cmd := exec.Command("imagetool", "sign", "--key", filepath.Join(dir, "key/private.pem"), "--jobs", "1",
				image, "--out", filepath.Join(out, "signed.raw"), "--manifest", filepath.Join(out, "manifest"))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			created()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit code 1\n%s", err, &stderr)
			}
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if after, err := os.ReadFile(image); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the input was changed, %v", err)
			}
		})
	}
}

// TestSignalWhileWaiting interrupts a run that waits for an archive which does not come.
func TestSignalWhileWaiting(t *testing.T) {
	tool(t, "imagetool")
	dir, out := t.TempDir(), t.TempDir()
	if _, err := private.Generate(filepath.Join(dir, "key"), private.GenerateOptions{}); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "file", Size: 1}), w.Flush()); err == nil {
		t.Fatal("a member without its data")
	}
	for name, sent := range map[string][]byte{"part of a header": archive.Bytes()[:100], "a header": archive.Bytes()} {
		t.Run(name, func(t *testing.T) {
			created := awaitCreations(t, out, 1)
			cmd := exec.Command("imagetool", "sign", "--key", filepath.Join(dir, "key/private.pem"), "-", "--out", filepath.Join(out, "signed.tar"))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			read, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			cmd.Stdin = read
			if err := errors.Join(cmd.Start(), read.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Write(sent); err != nil {
				t.Fatal(err)
			}
			if len(sent) == 512 {
				created()
			}
			awaitEmpty(t, in)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("ended with %v, want exit code 1\n%s", err, &stderr)
			}
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// awaitEmpty returns once all that was written to a pipe has been read.
func awaitEmpty(t *testing.T, in *os.File) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if n, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCINQ); err != nil || n == 0 {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("nobody reads")
}

// manyFiles makes an image that takes seconds to sign.
func manyFiles(t *testing.T, dir string) string {
	t.Helper()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(dir, "disk.raw")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", root, image, "32M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return image
}

// awaitCreations watches a folder. The function it gives returns when that many
// files have been made there.
func awaitCreations(t *testing.T, dir string, want int) func() {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := events.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for seen := 0; seen < want; {
			n, err := events.Read(buf)
			if err != nil {
				t.Fatalf("%d files were made, waiting for %d: %v", seen, want, err)
			}
			for b := buf[:n]; len(b) > 0; seen++ {
				b = b[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):] // the name has a length of its own
			}
		}
	}
}
