package hosttree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/signer"
)

// walk collects the files of all roots.
type walk struct {
	ctx        context.Context
	files      []signer.File
	byInode    map[inode]int
	boundaries []string
	failures   []signer.Failure
}

func (w *walk) root(r *root) error {
	if r.only != "" {
		w.named(r)
		return w.ctx.Err()
	}
	// Directories are opened from the root, one at a time: depth costs neither
	// descriptors nor stack.
	dirs := []string{"."}
	for len(dirs) > 0 {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		rel := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		if err := w.dir(r, rel, &dirs); err != nil {
			w.fail(r.path(rel), err)
		}
	}
	return nil
}

// named looks at a file that is a root itself: whatever is mounted on it is what
// was named, and that it is not there any more is a failure.
func (w *walk) named(r *root) {
	st, err := statAt(r.dir, r.only)
	if err == nil && !st.isRegular() {
		err = ErrChanged
	}
	if err != nil {
		w.fail(r.path(r.only), err)
		return
	}
	w.file(r, r.only, st)
}

// dir lists one directory. Directories in it go to dirs.
func (w *walk) dir(r *root, rel string, dirs *[]string) error {
	d, err := r.open(rel, unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ENOENT) && rel != ".":
		return nil // gone by now
	case errors.Is(err, unix.EXDEV):
		w.boundaries = append(w.boundaries, r.path(rel))
		return nil
	case err != nil:
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			w.entry(r, d, filepath.Join(rel, name), dirs)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// entry looks at one name of directory d. rel is its path below the root.
func (w *walk) entry(r *root, d *os.File, rel string, dirs *[]string) {
	st, err := statAt(d, filepath.Base(rel))
	switch {
	case errors.Is(err, unix.ENOENT):
		return // gone by now
	case err != nil:
		w.fail(r.path(rel), err)
	case st.mountPoint:
		w.boundaries = append(w.boundaries, r.path(rel))
	case st.isDir() && st.dev != r.dev:
		w.boundaries = append(w.boundaries, r.path(rel))
	case st.isDir():
		*dirs = append(*dirs, rel)
	case st.isRegular():
		w.file(r, rel, st)
	}
}

func (w *walk) file(r *root, rel string, st stat) {
	if i, ok := w.byInode[st.inode]; ok {
		w.files[i].Paths = append(w.files[i].Paths, r.path(rel))
		return
	}
	w.byInode[st.inode] = len(w.files)
	w.files = append(w.files, signer.File{
		Paths: []string{r.path(rel)},
		Inode: st.ino,
		Size:  st.size,
		Mode:  uint32(st.mode),
		UID:   st.uid,
		GID:   st.gid,
		Links: st.links,
		Ref:   &node{r, rel, st},
	})
}

func (w *walk) fail(path string, err error) {
	w.failures = append(w.failures, signer.Failure{Path: path, Err: fmt.Errorf("listing: %w", err)})
}
