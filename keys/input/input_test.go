package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// soon returns a context that ends while a read is waiting.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, n := range []int{0, 1, 9, 10} {
		want := bytes.Repeat([]byte("x"), n)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := Read(t.Context(), path, 10); !bytes.Equal(b, want) || err != nil {
			t.Errorf("%d bytes: %q, %v", n, b, err)
		}
	}
	if err := os.WriteFile(path, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, "/dev/zero"} {
		if _, err := Read(t.Context(), name, 10); err == nil || !strings.Contains(err.Error(), name+": more than 10 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(t.Context(), path+"x", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Read(t.Context(), filepath.Dir(path), 10); !errors.Is(err, syscall.EISDIR) {
		t.Error(err)
	}
	if _, err := Read(t.Context(), "", 10); err == nil || err.Error() != "empty file name" {
		t.Error(err)
	}
}

// TestPipesWait: neither opening nor reading a pipe waits longer than its context.
func TestPipesWait(t *testing.T) {
	path := fifo(t)
	if _, err := Read(soon(t), path, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	if _, err := Open(soon(t), path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v", err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0) // on Linux this needs no other side
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := Read(soon(t), path, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read with a silent writer: %v", err)
	}
	r, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pr, pw := io.Pipe()
	defer pw.Close()
	for name, r := range map[string]io.Reader{"pipe": pr, "FIFO": r} {
		if _, err := io.ReadAll(Reader(soon(t), r)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Reader of a %s: %v", name, err)
		}
	}
}

// TestPipesThatNobodyOpens: opening a pipe fails if nobody opens the other end.
func TestPipesThatNobodyOpens(t *testing.T) {
	defer func(d time.Duration) { openTimeout = d }(openTimeout)
	openTimeout = 10 * time.Millisecond
	path := fifo(t)
	for i, read := range []func() error{
		func() error { _, err := Read(t.Context(), path, 10); return err },
		func() error { _, err := Open(t.Context(), path); return err },
	} {
		if err := read(); err == nil || err.Error() != path+": a pipe that nobody writes to" {
			t.Errorf("%d: error is %v", i, err)
		}
	}
}

// TestPipes: a pipe is read by its name or by its descriptor, which a shell inserts for
// <(command).
func TestPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = w.WriteString("text")
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	named := fifo(t)
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(named, []byte("text"), 0) }()
	for _, path := range []string{fmt.Sprintf("/dev/fd/%d", r.Fd()), named} {
		if b, err := Read(t.Context(), path, 10); string(b) != "text" || err != nil {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestReader(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 20<<10)
	err := iotest.TestReader(Reader(t.Context(), bytes.NewReader(want)), want)
	if err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(Reader(t.Context(), iotest.ErrReader(broken))); err != broken {
		t.Error(err)
	}
}
