package hostfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/block"
)

// TestCopyKinds copies through both ways of copying and compares bytes and digest,
// with data at the end and with a hole there.
func TestCopyKinds(t *testing.T) {
	path := sparse(t, 5*mib+123)
	poke(t, path, 0, bytes.Repeat([]byte("begin"), 1000))
	poke(t, path, 3*mib-5, bytes.Repeat([]byte("middle"), 300_000))
	testCopyKinds(t, path)
	poke(t, path, -1, []byte("."))
	testCopyKinds(t, path)
}

func testCopyKinds(t *testing.T, path string) {
	src, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	want, _ := os.ReadFile(path)
	size := int64(len(want))

	for name, do := range map[string]func(dst *os.File) error{
		"image": func(dst *os.File) error {
			return handle{src, size}.copyTo(context.Background(), dst, func(int64) {})
		},
		"buffered": func(dst *os.File) error {
			return errors.Join(dst.Truncate(size), copyBuffered(dst, src, 0, size))
		},
	} {
		dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		if err := do(dst); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(dst.Name()); !bytes.Equal(got, want) {
			t.Errorf("%s: the copy differs", name)
		}
		got, err := block.Digest(context.Background(), handle{dst, size})
		if wantSum := sha256.Sum256(want); err != nil || !bytes.Equal(got, wantSum[:]) {
			t.Errorf("%s: digest %x, %v", name, got, err)
		}
	}
}

func TestIsZero(t *testing.T) {
	path := sparse(t, 8*mib)
	for _, at := range []int64{0, 3*mib - 1, 6 * mib} { // all around the partition
		poke(t, path, at, []byte("x"))
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := block.NewSection(handle{f, 8 * mib}, "partition 1", 3*mib, 3*mib)
	check := func(what string, want bool) {
		t.Helper()
		if got, err := block.IsZero(context.Background(), p); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	check("a hole", true)
	poke(t, path, 3*mib, make([]byte, 3*mib))
	check("zeros that were written", true)
	poke(t, path, 6*mib-1, []byte("x"))
	check("a last byte", false)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := block.IsZero(ctx, p); err == nil {
		t.Error("it went on when it was told to end")
	}
}

// TestForget looks for the pages of a file in memory.
func TestForget(t *testing.T) {
	path := sparse(t, mib)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if onTmpfs(t, f) {
		t.Skip("the folder for temporary files lies on a tmpfs, which is memory")
	}
	dev := Device(f, mib)
	if _, err := dev.WriteAt(bytes.Repeat([]byte("x"), mib), 0); err != nil {
		t.Fatal(err)
	}
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := resident(t, f, mib); n == 0 {
		t.Fatal("nothing of the file is in memory, so that forgetting it would not show")
	}
	if err := dev.Forget(); err != nil {
		t.Fatal(err)
	}
	if n := resident(t, f, mib); n > 0 {
		t.Errorf("%d pages are still in memory", n)
	}
	if b := data(t, path); !bytes.Equal(b, bytes.Repeat([]byte("x"), mib)) {
		t.Error("the contents are not what was written")
	}
}

func onTmpfs(t *testing.T, f *os.File) bool {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	return s.Type == unix.TMPFS_MAGIC
}

// resident counts the pages of a file that are in memory, by mincore(2).
func resident(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, size/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(size), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}
