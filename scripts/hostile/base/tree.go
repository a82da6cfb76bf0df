package base

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// epoch is the time of everything.
var epoch = time.Unix(1_600_000_000, 0)

// A builder makes files until something fails.
type builder struct {
	root string
	err  error
}

// fill makes the tree that mke2fs copies.
func (r *Recipe) fill(root string, blockSize int) error {
	b := &builder{root: root}
	for name, size := range map[string]int{"empty": 0, "one": 1, "hello": 60, "inline": 150, "page": 4096, "large": 14000, "sub/deeper/file": 3} {
		b.file(name, size)
	}
	// Every second block: more extents than fit into the inode.
	for i := range 12 {
		b.at("holes", i*2*blockSize)
	}
	for _, name := range []string{strings.Repeat("n", 255), "new\nline", "\xff\xfe", "-dash", "..three"} {
		b.file(name, 5)
	}
	b.link("hello", "sub/linked")
	b.symlink("sub/linked", "fast")
	b.symlink(strings.Repeat("x/", 100), "slow")
	b.do(syscall.Mkfifo(b.path("fifo"), 0o644))
	b.file("names/first", 7)
	for i := range r.Names {
		b.link("names/first", fmt.Sprintf("names/%s-%d", strings.Repeat("e", 200), i))
	}
	if r.Deep {
		b.deep(blockSize)
	}
	b.do(filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type() == os.ModeSymlink {
			return err
		}
		return os.Chtimes(path, epoch, epoch)
	}))
	return b.err
}

// deep makes files with double and triple indirect blocks, or an extent tree of
// two levels.
func (b *builder) deep(blockSize int) {
	per := blockSize / 4
	for _, i := range []int{0, 12, 12 + per - 1, 12 + per, 12 + 2*per, 12 + per + per*per} {
		b.at("triple", i*blockSize)
	}
	for i := range 360 {
		b.at("tree", i*2*blockSize)
	}
}

func (b *builder) do(err error) { b.err = errors.Join(b.err, err) }

func (b *builder) path(name string) string {
	path := filepath.Join(b.root, name)
	b.do(os.MkdirAll(filepath.Dir(path), 0o755))
	return path
}

func (b *builder) file(name string, size int) {
	b.do(os.WriteFile(b.path(name), pattern(size, len(name)), 0o644))
}

// at writes a few bytes at an offset.
func (b *builder) at(name string, off int) {
	f, err := os.OpenFile(b.path(name), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.do(err)
		return
	}
	_, err = f.WriteAt([]byte("x"), int64(off))
	b.do(errors.Join(err, f.Close()))
}

func (b *builder) link(old, name string) { b.do(os.Link(b.path(old), b.path(name))) }

func (b *builder) symlink(target, name string) { b.do(os.Symlink(target, b.path(name))) }

// pattern is n bytes without long runs of one value.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/255 + seed)
	}
	return b
}
