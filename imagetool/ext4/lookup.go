package ext4

import (
	"fmt"
	iofs "io/fs"
	"strings"
)

const (
	maxPath     = 4096 // PATH_MAX
	maxSymlinks = 40   // MAXSYMLINKS
)

// Lookup finds an inode by its path from the root, as lstat(2) would: symbolic
// links on the way are followed inside the file system, one at the end is not.
func (fs *FS) Lookup(path string) (*Inode, error) {
	in, err := fs.lookup(path)
	if err != nil {
		return nil, &iofs.PathError{Op: "lookup", Path: path, Err: err}
	}
	return in, nil
}

func (fs *FS) lookup(path string) (*Inode, error) {
	root, err := fs.Inode(inoRoot)
	if err != nil {
		return nil, err
	}
	trail := []*Inode{root} // from the root to where we are
	links := 0
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		here := trail[len(trail)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		in, err := fs.child(here, name)
		if err != nil {
			return nil, err
		}
		if !in.IsSymlink() || isLast(rest) {
			trail = append(trail, in)
			continue
		}
		if links++; links > maxSymlinks {
			return nil, fmt.Errorf("too many symbolic links")
		}
		target, err := fs.Readlink(in)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			trail = trail[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return trail[len(trail)-1], nil
}

// isLast reports whether nothing follows. A trailing slash makes the kernel
// follow a link, so only the true end counts.
func isLast(rest []string) bool { return len(rest) == 0 }

func (fs *FS) child(dir *Inode, name string) (*Inode, error) {
	if !dir.IsDir() {
		return nil, fmt.Errorf("%w: inode %d is not a directory", iofs.ErrNotExist, dir.Number)
	}
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name == name {
			return fs.Inode(e.Ino)
		}
	}
	return nil, iofs.ErrNotExist
}
