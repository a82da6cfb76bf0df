package extfs

import (
	"context"
	"fmt"
	"math"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/ext4"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// Driver opens ext2, ext3 and ext4.
type Driver struct{}

var _ fsys.Driver = Driver{}

// Describe reads the superblock alone.
func (Driver) Describe(dev block.Device) (*fsys.Info, error) {
	info, err := ext4.ReadInfo(dev, dev.Size())
	if err != nil {
		return nil, err
	}
	return describe(info), nil
}

// Open opens the file system.
func (Driver) Open(dev block.Device) (fsys.FileSystem, error) {
	fs, err := ext4.Open(dev, dev.Size())
	if err != nil {
		return nil, err
	}
	return &fileSystem{fs}, nil
}

func describe(i *ext4.Info) *fsys.Info {
	return &fsys.Info{
		Kind: i.Kind, UUID: i.UUID, Label: i.Label, BlockSize: i.BlockSize, InodeSize: i.InodeSize,
		Blocks: i.Blocks, FreeBlocks: i.FreeBlocks, Inodes: i.Inodes, FreeInodes: i.FreeInodes,
		Features: i.Features, Problems: i.Problems,
	}
}

type fileSystem struct{ fs *ext4.FS }

func (f *fileSystem) Info() *fsys.Info { return describe(f.fs.Info()) }

func (f *fileSystem) Writable() error { return f.fs.Writable() }

func (f *fileSystem) Check(ctx context.Context) (fsys.Listing, error) {
	l, err := f.fs.Check(ctx)
	if err != nil {
		return nil, err
	}
	return &listing{l}, nil
}

func (f *fileSystem) Lookup(path string) (fsys.Inode, error) { return found(f.fs.Lookup(path)) }

func (f *fileSystem) Follow(path string) (fsys.Inode, error) { return found(f.fs.Follow(path)) }

func (f *fileSystem) Inode(number uint64) (fsys.Inode, error) {
	if number > math.MaxUint32 {
		return nil, fmt.Errorf("inode %d: no ext4 has so many", number)
	}
	return found(f.fs.Inode(uint32(number)))
}

// found keeps a nil pointer from becoming an Inode.
func found(in *ext4.Inode, err error) (fsys.Inode, error) {
	if err != nil {
		return nil, err
	}
	return (*inode)(in), nil
}

func (f *fileSystem) ReadDir(dir fsys.Inode) ([]fsys.DirEntry, error) {
	entries, err := f.fs.ReadDir(ext4Inode(dir))
	if err != nil {
		return nil, err
	}
	list := make([]fsys.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = fsys.DirEntry{Name: e.Name, Inode: uint64(e.Ino)}
	}
	return list, nil
}

func (f *fileSystem) Readlink(link fsys.Inode) (string, error) { return f.fs.Readlink(ext4Inode(link)) }

func (f *fileSystem) Open(file fsys.Inode) (fsys.Contents, error) {
	c, err := f.fs.Contents(ext4Inode(file))
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (f *fileSystem) Xattr(in fsys.Inode, name string) ([]byte, bool, error) {
	return f.fs.Xattr(ext4Inode(in), name)
}

func (f *fileSystem) Xattrs(in fsys.Inode) ([]fsys.Xattr, error) {
	attrs, err := f.fs.Xattrs(ext4Inode(in))
	if err != nil {
		return nil, err
	}
	list := make([]fsys.Xattr, len(attrs))
	for i, a := range attrs {
		list[i] = fsys.Xattr(a)
	}
	return list, nil
}

// An inode is an ext4.Inode under another name, so that none has to be copied.
type inode ext4.Inode

func ext4Inode(in fsys.Inode) *ext4.Inode { return (*ext4.Inode)(in.(*inode)) }

func (in *inode) Stat() fsys.Stat {
	s := fsys.Stat{
		Number: uint64(in.Number), Mode: uint32(in.Mode), UID: in.UID, GID: in.GID,
		Links: in.Links, Size: in.Size, Mtime: in.Mtime,
	}
	s.Major, s.Minor = (*ext4.Inode)(in).Device()
	return s
}
