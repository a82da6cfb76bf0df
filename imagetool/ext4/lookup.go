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

// RootInode is the number of the root directory.
const RootInode = inoRoot

// Lookup finds an inode by its path from the root, as lstat(2) would: symbolic
// links on the way are followed inside the file system, one at the end is not.
func (fs *FS) Lookup(path string) (*Inode, error) { return fs.find(path, false) }

// Follow finds an inode by its path from the root, as stat(2) would: a symbolic
// link at the end is followed too.
func (fs *FS) Follow(path string) (*Inode, error) { return fs.find(path, true) }

func (fs *FS) find(path string, follow bool) (*Inode, error) {
	w := pathWalk{fs: fs, follow: follow, dirs: map[uint32]map[string]uint32{}}
	in, err := w.find(path)
	if err != nil {
		return nil, &iofs.PathError{Op: "lookup", Path: path, Err: err}
	}
	return in, nil
}

// A pathWalk is one walk down a path. It lists each directory once: links may lead
// through a large one thousands of times.
type pathWalk struct {
	fs     *FS
	follow bool // a link at the end
	dirs   map[uint32]map[string]uint32
}

func (w *pathWalk) find(path string) (*Inode, error) {
	root, err := w.fs.Inode(inoRoot)
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
		in, err := w.child(here, name)
		if err != nil && links > 0 {
			return nil, fmt.Errorf("%q, to which a symbolic link leads: %w", name, err)
		}
		if err != nil {
			return nil, err
		}
		// A trailing slash makes the kernel follow a link, so only the true end counts.
		if !in.IsSymlink() || len(rest) == 0 && !w.follow {
			trail = append(trail, in)
			continue
		}
		if links++; links > maxSymlinks {
			return nil, fmt.Errorf("too many symbolic links")
		}
		target, err := w.fs.Readlink(in)
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

func (w *pathWalk) child(dir *Inode, name string) (*Inode, error) {
	if !dir.IsDir() {
		return nil, fmt.Errorf("%w: inode %d is not a directory", iofs.ErrNotExist, dir.Number)
	}
	names, ok := w.dirs[dir.Number]
	if !ok {
		entries, err := w.fs.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		names = make(map[string]uint32, len(entries))
		for _, e := range entries {
			names[e.Name] = e.Ino
		}
		w.dirs[dir.Number] = names
	}
	ino, ok := names[name]
	if !ok {
		return nil, iofs.ErrNotExist
	}
	return w.fs.Inode(ino)
}
