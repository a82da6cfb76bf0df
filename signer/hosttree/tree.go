package hosttree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/signer"
)

// Tree is the regular files below some directories, each of one file system.
type Tree struct {
	roots      []*root
	boundaries []string

	mu     sync.Mutex
	dirty  []*root        // where labels were set
	failed map[*root]bool // where none can be set, or read
}

var _ signer.Tree = (*Tree)(nil)

// root is one directory that was named, or the directory of a file that was.
type root struct {
	name string   // of the directory, as given
	only string   // the one file in it that is meant, if any
	dir  *os.File // everything is reached from here
	dev  uint64
}

// Open takes directories, and files that stand for themselves. None of them may
// be a symbolic link. An inode that several of them lead to is one file.
func Open(paths ...string) (*Tree, error) {
	if len(paths) == 0 {
		return nil, errors.New("no paths")
	}
	t := &Tree{failed: make(map[*root]bool)}
	for _, p := range paths {
		r, err := openRoot(p)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.roots = append(t.roots, r)
	}
	return t, nil
}

// Close gives the descriptors back. The tree cannot be used any more.
func (t *Tree) Close() error {
	var errs []error
	for _, r := range t.roots {
		errs = append(errs, r.dir.Close())
	}
	t.roots = nil
	return errors.Join(errs...)
}

// Boundaries are the directories and files that Files passed over because
// another file system is mounted there, sorted.
func (t *Tree) Boundaries() []string { return t.boundaries }

func openRoot(path string) (*root, error) {
	if path == "" {
		return nil, errors.New("empty path")
	}
	r := &root{name: filepath.Clean(path)}
	info, err := os.Lstat(r.name)
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a symbolic link: name what it points to", path)
	case mode.IsRegular():
		r.name, r.only = filepath.Dir(r.name), filepath.Base(r.name)
	case !mode.IsDir():
		return nil, fmt.Errorf("%s is neither a directory nor a regular file", path)
	}
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	if r.only == "" {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(r.name, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: r.name, Err: err}
	}
	r.dir = os.NewFile(uintptr(fd), r.name)
	st, err := statAt(r.dir, "")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), r.dir.Close())
	}
	r.dev = st.dev
	return r, nil
}

// path gives the name under which a file below the root is reported.
func (r *root) path(rel string) string { return filepath.Join(r.name, rel) }

// node is the Ref of a file: how to open it again, and what must be found then.
type node struct {
	root *root
	rel  string
	stat stat
}

// Files lists the files by inode number, which on most file systems is close to
// the order in which their contents lie.
func (t *Tree) Files(ctx context.Context) ([]signer.File, error) {
	w := &walk{ctx: ctx, byInode: make(map[inode]int)}
	for _, r := range t.roots {
		if err := w.root(r); err != nil {
			return nil, err
		}
	}
	for i := range w.files {
		slices.Sort(w.files[i].Paths)
		w.files[i].Paths = slices.Compact(w.files[i].Paths)
	}
	slices.SortFunc(w.files, func(a, b signer.File) int {
		x, y := a.Ref.(*node).stat.inode, b.Ref.(*node).stat.inode
		return cmp.Or(cmp.Compare(x.dev, y.dev), cmp.Compare(x.ino, y.ino))
	})
	slices.Sort(w.boundaries)
	t.boundaries = slices.Compact(w.boundaries)
	if len(w.failures) > 0 {
		slices.SortFunc(w.failures, func(a, b signer.Failure) int { return strings.Compare(a.Path, b.Path) })
		return w.files, &signer.IncompleteError{Failures: w.failures}
	}
	return w.files, nil
}

// Commit flushes each file system that has a new label. The values were read
// back when they were set.
func (t *Tree) Commit(ctx context.Context) error {
	var errs []error
	for _, r := range t.dirty {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := unix.Syncfs(int(r.dir.Fd())); err != nil {
			errs = append(errs, fmt.Errorf("flushing the file system of %s: %w", r.name, err))
		}
	}
	t.dirty = nil
	return errors.Join(errs...)
}

// Rooted gives names of the tree as seen from the directory that was opened
// first: /etc/passwd for /mnt/guest/etc/passwd.
func (t *Tree) Rooted(paths []string) []string {
	rooted := make([]string, len(paths))
	for i, p := range paths {
		rel, err := filepath.Rel(t.roots[0].name, p)
		if err != nil {
			rel = p
		}
		rooted[i] = "/" + strings.TrimPrefix(rel, "/")
	}
	return rooted
}
