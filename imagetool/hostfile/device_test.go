package hostfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

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
