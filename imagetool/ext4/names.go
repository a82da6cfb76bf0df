package ext4

import (
	"context"
	"maps"
	"slices"
)

// Bounds on the memory for paths: hard links deep down in a tree could make
// kilobytes out of each entry of a directory. A path of a hundred bytes for every
// kilobyte of the file system is more than honest ones have.
const (
	minPathBytes = 16 << 20
	maxPathBytes = 1 << 30
	pathShare    = 8 // of the file system's size
)

func pathLimit(sb *superblock) int {
	return int(min(minPathBytes+sb.blocks*sb.blockSize/pathShare, maxPathBytes))
}

// dirLinkMax is EXT4_LINK_MAX.
const dirLinkMax = 65000

// uncounted reports whether a directory may have given up counting its
// subdirectories: a link count of 1 says that there once were too many. In a
// hash tree it stays so when they get fewer (ext4_dec_count).
func (l *Listing) uncounted(f *facts) bool {
	return f.names > dirLinkMax || f.index && l.fs.sb.has(roCompat, roDirNlink)
}

// A dirNode is a directory that was named but not yet listed.
type dirNode struct {
	ino, parent uint32
	path        string // "" for the root
}

// walkNames lists all directories from the root, gives the files their paths
// and compares the number of names with each inode's link count.
func (l *Listing) walkNames(ctx context.Context) error {
	root := l.inode[inoRoot]
	if root == nil || root.mode&modeType != modeDir {
		return damaged("there is no root directory")
	}
	pending := []dirNode{{ino: inoRoot, parent: inoRoot}}
	root.names++ // ".." of the root is the root
	for len(pending) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		var err error
		if pending, err = l.walkDir(dir, pending); err != nil {
			return err
		}
	}
	return l.checkLinks()
}

func (l *Listing) walkDir(dir dirNode, pending []dirNode) ([]dirNode, error) {
	in, err := l.fs.Inode(dir.ino)
	if err != nil {
		return nil, err
	}
	entries, parent, err := l.fs.readDir(in)
	if err != nil {
		return nil, err
	}
	if parent != dir.parent {
		return nil, damaged("directory %q: \"..\" is inode %d, expected %d", dir.path, parent, dir.parent)
	}
	l.inode[dir.ino].names++ // "."
	for _, e := range entries {
		if len(dir.path)+1+len(e.Name) >= maxPath {
			// Needed: no path that open(2) takes leads there, and d_path gives IMA none: rules,
			// manifests and verdicts could not name it.
			return nil, refuse("move what lies so deep further up: programs cannot name it either", "path of %q in %q is longer than %d bytes", e.Name, dir.path, maxPath-1)
		}
		path := dir.path + "/" + e.Name
		if l.pathBytes += len(path); l.pathBytes > l.pathLimit {
			// Needed: the paths of a small image could take all memory.
			return nil, refuse("", "directory %q: with it, the paths of all files are longer than %d bytes, too many for a file system of this size", dir.path, l.pathLimit)
		}
		f, err := l.name(e, path)
		if err != nil {
			return nil, err
		}
		if f.mode&modeType == modeDir {
			if f.names++; f.names > 1 {
				return nil, damaged("directory %q has another name (inode %d)", path, e.Ino)
			}
			l.inode[dir.ino].names++ // its ".."
			pending = append(pending, dirNode{e.Ino, dir.ino, path})
			continue
		}
		if f.names++; f.file >= 0 {
			l.Files[f.file].Paths = append(l.Files[f.file].Paths, path)
		}
	}
	return pending, nil
}

// name checks what one directory entry refers to.
func (l *Listing) name(e DirEntry, path string) (*facts, error) {
	f := l.inode[e.Ino]
	switch {
	case f != nil && f.value: // check_igot_inode
		return nil, incurable("%q refers to inode %d, which has the value of an extended attribute", path, e.Ino)
	case f == nil || e.Ino < l.fs.sb.firstInode || l.fs.isHidden(e.Ino):
		return nil, damaged("%q refers to inode %d, which is free or reserved", path, e.Ino)
	}
	if l.fs.sb.has(incompat, incompatFiletype) && e.fileType != fileTypes[f.mode&modeType] {
		return nil, damaged("%q: directory entry has file type %d, inode %d is a %s", path, e.fileType, e.Ino, typeName(f.mode))
	}
	return f, nil
}

func (l *Listing) checkLinks() error {
	for _, number := range slices.Sorted(maps.Keys(l.inode)) {
		f := l.inode[number]
		if number < l.fs.sb.firstInode && number != inoRoot || l.fs.isHidden(number) || f.value {
			continue
		}
		if f.names == 0 {
			return damaged("inode %d is in use, but has no name", number)
		}
		if f.mode&modeType == modeDir && f.links == 1 && l.uncounted(f) {
			continue
		}
		if uint32(f.links) != f.names {
			return damaged("inode %d: link count is %d, but it has %d names", number, f.links, f.names)
		}
	}
	return nil
}
