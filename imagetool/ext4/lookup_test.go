package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755),
		os.WriteFile(filepath.Join(dir, "usr/bin/tool"), []byte("the tool"), 0o755),
		os.Symlink("usr/bin", filepath.Join(dir, "bin")),
		os.Symlink("/bin/../bin/tool", filepath.Join(dir, "usr/link")),
		os.Symlink("../../../../usr", filepath.Join(dir, "usr/bin/out")),
		os.Symlink("a", filepath.Join(dir, "b")),
		os.Symlink("b", filepath.Join(dir, "a")),
		os.Symlink(strings.Repeat("./", 100)+"usr", filepath.Join(dir, "slow")),
	); err != nil {
		t.Fatal(err)
	}
	_, fs, err := openImage(t, makeImage(t, dir, "2M", "-t", "ext4", "-O", "^has_journal"))
	if err != nil {
		t.Fatal(err)
	}
	tool := lookup(t, fs, "/usr/bin/tool").Number
	for _, path := range []string{"usr/bin/tool", "/bin/tool", "//usr/./bin/../bin/tool", "/../bin/tool", "/usr/bin/out/bin/tool", "/slow/bin/tool"} {
		if in := lookup(t, fs, path); in.Number != tool {
			t.Errorf("%q is inode %d, expected %d", path, in.Number, tool)
		}
	}
	for path, want := range map[string]string{"/usr/link": "/bin/../bin/tool", "/bin": "usr/bin", "/slow": strings.Repeat("./", 100) + "usr"} {
		if got, err := fs.Readlink(lookup(t, fs, path)); err != nil || got != want {
			t.Errorf("%q leads to %q, expected %q: %v", path, got, want, err)
		}
	}
	for _, path := range []string{"/none", "/usr/link/none", "/usr/bin/tool/none"} {
		if _, err := fs.Lookup(path); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%q: error is %v", path, err)
		}
	}
	for _, path := range []string{"/usr/link", "/usr/link/", "/usr/bin/tool"} {
		if in, err := fs.Follow(path); err != nil || in.Number != tool {
			t.Errorf("%q leads to %+v, expected inode %d: %v", path, in, tool, err)
		}
	}
	if _, err := fs.Follow("/a"); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("a loop of links: %v", err)
	}
	if _, err := fs.Lookup("/a/x"); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("a loop of links: %v", err)
	}
	if _, err := fs.Contents(lookup(t, fs, "/usr")); err != nil {
		t.Errorf("contents of a directory: %v", err)
	}
	if _, err := fs.Readlink(lookup(t, fs, "/usr")); err == nil {
		t.Error("a directory is a link")
	}
}

// TestLookupOnce: links that lead through a directory over and over do not have it
// read over and over.
func TestLookupOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "d"), 0o700),
		os.Symlink(strings.Repeat("d/../", 190)+"d/f", filepath.Join(dir, "l")),
		os.Symlink("../l/.", filepath.Join(dir, "d/f")),
	); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(makeImage(t, dir, "4M", "-t", "ext4", "-b", "1024", "-O", "^has_journal", "-N", "3000"))
	if err != nil {
		t.Fatal(err)
	}
	r := &countingReader{r: bytes.NewReader(img)}
	fs, err := Open(r, int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	r.n = 0
	if _, err := fs.Follow("/l"); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("error is %v", err)
	}
	if r.n > 10*len(img) {
		t.Errorf("%d bytes were read of an image of %d", r.n, len(img))
	}
}

type countingReader struct {
	r io.ReaderAt
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.n += len(p)
	return c.r.ReadAt(p, off)
}

// TestReadAt reads a sparse file in pieces of all sizes.
func TestReadAt(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{3000, 4096, 20000, 50000} {
		if _, err := f.WriteAt(pattern(2500, off), off); err != nil {
			t.Fatal(err)
		}
	}
	want := make([]byte, 52500)
	if _, err := f.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, args := range [][]string{{"-t", "ext4"}, {"-t", "ext2", "-b", "1024"}} {
		_, fs, err := openImage(t, makeImage(t, dir, "2M", append(args, "-O", "^has_journal")...))
		if err != nil {
			t.Fatal(err)
		}
		c, err := fs.Contents(lookup(t, fs, "/f"))
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off <= len(want); off += 499 {
			for _, n := range []int{0, 1, 1023, 4097, 60000} {
				got := make([]byte, n)
				k, err := c.ReadAt(got, int64(off))
				end := min(off+n, len(want))
				if string(got[:k]) != string(want[off:end]) {
					t.Fatalf("%d bytes at %d differ", n, off)
				}
				if k < n && err != io.EOF || k == n && n > 0 && err != nil && err != io.EOF {
					t.Fatalf("%d of %d bytes at %d: %v", k, n, off, err)
				}
			}
		}
	}
}
