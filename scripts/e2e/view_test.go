package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const imaName = "security.ima"

// entry is what the kernel shows of one name. Comparable, but for the attributes.
type entry struct {
	Ino, Nlink, Size, Rdev     uint64
	Mode, UID, GID, Flags      uint32
	Atime, Mtime, Ctime, Btime int64 // nanoseconds
	Blocks                     uint64
	Sum                        string // SHA-256 of a regular file's contents; "unreadable: ..." where the kernel refuses
	Target                     string // of a symbolic link
	Xattrs                     map[string]string
}

func (e *entry) regular() bool { return e.Mode&unix.S_IFMT == unix.S_IFREG }

// view is what the kernel shows of a mounted tree, by path from its root ("/", "/etc/passwd").
type view map[string]*entry

// regular returns the paths of regular files in order.
func (v view) regular() []string {
	var paths []string
	for path, e := range v {
		if e.regular() {
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	return paths
}

// know fills in digests that this machine's kernel could not read.
func (v view) know(sums map[string]string) view {
	for path, sum := range sums {
		if e := v[path]; e != nil && len(e.Sum) != 64 {
			e.Sum = sum
		}
	}
	return v
}

func readView(t *testing.T, root string) view {
	t.Helper()
	v, sums := view{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		e, err := readEntry(path, sums)
		if err != nil {
			return err
		}
		v["/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/")] = e
		return nil
	})
	if err != nil {
		t.Fatalf("reading the kernel's view: %v", err)
	}
	return v
}

func readEntry(path string, sums map[uint64]string) (*entry, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return nil, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	nano := func(ts unix.StatxTimestamp) int64 { return ts.Sec*1e9 + int64(ts.Nsec) }
	e := &entry{
		Ino: st.Ino, Nlink: uint64(st.Nlink), Size: st.Size, Rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Flags: uint32(st.Attributes), Blocks: st.Blocks,
		Atime: nano(st.Atime), Mtime: nano(st.Mtime), Ctime: nano(st.Ctime), Btime: nano(st.Btime),
	}
	var err error
	if e.Xattrs, err = readXattrs(path); err != nil {
		return nil, &fs.PathError{Op: "reading attributes", Path: path, Err: err}
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		e.Target, err = os.Readlink(path)
	case unix.S_IFREG:
		if _, ok := sums[e.Ino]; !ok {
			sums[e.Ino], err = contentSum(path)
		}
		e.Sum = sums[e.Ino]
	}
	return e, err
}

// contentSum digests a file. A verity file is unreadable to a kernel without fs-verity; it is noted, not hidden.
func contentSum(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "unreadable: " + err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func readXattrs(path string) (map[string]string, error) {
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	value := make([]byte, 1<<16)
	for _, name := range bytes.Split(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, err
		}
		attrs[string(name)] = string(value[:n])
	}
	return attrs, nil
}

// withoutIMA is the view's comparable rest once security.ima and what its writing may change are taken away: the
// count of sectors grows by the attribute's block.
func (e *entry) withoutIMA(ctime bool) entry {
	c := *e
	c.Xattrs, c.Blocks = nil, 0
	if !ctime {
		c.Ctime = 0
	}
	return c
}

// complaints keeps a message that repeats for thousands of files readable.
type complaints struct {
	t *testing.T
	n int
}

func (c *complaints) add(format string, args ...any) {
	c.t.Helper()
	if c.n++; c.n <= 10 {
		c.t.Errorf(format, args...)
	}
}

func (c *complaints) close() {
	c.t.Helper()
	if c.n > 10 {
		c.t.Errorf("... and %d more of this kind", c.n-10)
	}
}

// compareViews fails the test for every difference between two views but security.ima of regular files (and, unless
// wanted, the ctime of those).
func compareViews(t *testing.T, before, after view, ctime bool) {
	t.Helper()
	c := &complaints{t: t}
	defer c.close()
	for path, a := range after {
		b := before[path]
		if b == nil {
			c.add("%q appeared", path)
			continue
		}
		keepCtime := ctime || !a.regular()
		x, y := b.withoutIMA(keepCtime), a.withoutIMA(keepCtime)
		if x.describe() != y.describe() {
			c.add("%q changed:\nbefore %s\nafter  %s", path, x.describe(), y.describe())
		}
		compareXattrs(c, path, b, a)
	}
	for path := range before {
		if after[path] == nil {
			c.add("%q disappeared", path)
		}
	}
}

func compareXattrs(c *complaints, path string, b, a *entry) {
	c.t.Helper()
	for name, value := range b.Xattrs {
		if got, ok := a.Xattrs[name]; name != imaName && (!ok || got != value) {
			c.add("%q: attribute %q was %x, is %x (present: %v)", path, name, value, got, ok)
		}
	}
	for name := range a.Xattrs {
		if _, ok := b.Xattrs[name]; !ok && name != imaName {
			c.add("%q: attribute %q appeared", path, name)
		}
	}
	if !a.regular() && a.Xattrs[imaName] != b.Xattrs[imaName] {
		c.add("%q is no regular file, yet its security.ima changed", path)
	}
}

func (e entry) describe() string {
	return fmt.Sprintf("%+v", e)
}
