package ext4

import (
	"fmt"
	"io"
	"strings"
)

// struct ext4_dir_entry_2 and ext4_dir_entry_tail (fs/ext4/ext4.h).
const (
	deOffRecLen   = 4
	deOffNameLen  = 6
	deOffFileType = 7
	deHeader      = 8
	deMinLen      = 12
	deTailSize    = 12
	deTailType    = 0xde // EXT4_FT_DIR_CSUM
	deMaxRecLen   = 65535
	maxName       = 255 // EXT4_NAME_LEN
)

// fileTypes maps i_mode's type to file_type in directory entries (EXT4_FT_*).
var fileTypes = map[uint16]byte{
	modeRegular: 1, modeDir: 2, modeChar: 3, modeBlock: 4, modeFIFO: 5, modeSocket: 6, modeSymlink: 7,
}

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string // raw bytes, never "." or ".."
	Ino  uint32

	fileType byte // 0 where the file system does not record it
}

// ReadDir lists a directory in the order in which it lies on disk.
func (fs *FS) ReadDir(in *Inode) ([]DirEntry, error) {
	entries, _, err := fs.readDir(in)
	return entries, err
}

// readDir also returns the parent's inode number.
func (fs *FS) readDir(in *Inode) (entries []DirEntry, parent uint32, err error) {
	if !in.IsDir() {
		return nil, 0, fmt.Errorf("inode %d is a %s, not a directory", in.Number, typeName(in.Mode))
	}
	d := &dirReader{fs: fs, in: in}
	if in.has(flInlineData) {
		err = d.inline()
	} else {
		err = d.blocks()
	}
	if err == nil {
		err = d.checkNames()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("directory inode %d: %w", in.Number, err)
	}
	return d.entries, d.parent, nil
}

type dirReader struct {
	fs      *FS
	in      *Inode
	entries []DirEntry
	parent  uint32
}

// inline reads a directory inside its inode: the parent's number, then entries
// in i_block, then entries in system.data (fs/ext4/inline.c).
func (d *dirReader) inline() error {
	rest, err := d.in.inlineRest()
	if err != nil {
		return err
	}
	if d.in.Size != int64(inBlockSize+len(rest)) {
		// Needed: whether entries behind the size count, nobody can tell.
		return incurable("size is %d, but %d bytes lie in the inode", d.in.Size, inBlockSize+len(rest))
	}
	d.parent = le.Uint32(d.in.iBlock())
	if err := d.parse(d.in.iBlock()[4:], d.add); err != nil {
		return err
	}
	if len(rest) == 0 {
		return nil
	}
	return d.parse(rest, d.add)
}

// blocks reads a directory in blocks of its own.
func (d *dirReader) blocks() error {
	bs := int64(d.fs.sb.blockSize)
	if d.in.Size == 0 || d.in.Size%bs != 0 {
		return damaged("size %d is not a number of blocks", d.in.Size)
	}
	c, err := d.fs.Contents(d.in)
	if err != nil {
		return err
	}
	count := uint64(d.in.Size / bs)
	if at := firstHole(c.runs, count); at < count {
		return damaged("block %d is a hole", at)
	}
	index, err := d.readIndex(c, count)
	if err != nil {
		return err
	}
	buf := make([]byte, bs)
	for i := range count {
		if index != nil && index.blocks[i].role == roleNode {
			continue // holds hashes, no names
		}
		if _, err := c.ReadAt(buf, int64(i)*bs); err != nil && err != io.EOF {
			return err
		}
		if err := d.block(i, buf, index); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// firstHole is the first of count blocks that no run maps, or count.
func firstHole(runs []run, count uint64) uint64 {
	var next uint64
	for _, r := range runs {
		if r.logical != next {
			break
		}
		next += r.count
	}
	return min(next, count)
}

// block takes the names of one block. index is nil without a hash tree; its root
// holds only "." and "..", the second of which covers the rest, and its checksum
// is the tree's.
func (d *dirReader) block(i uint64, b []byte, index *dxTree) error {
	isRoot := index != nil && i == 0
	if d.fs.sb.metadataCsum() && !isRoot {
		tail := b[len(b)-deTailSize:]
		if le.Uint32(tail) != 0 || le.Uint16(tail[deOffRecLen:]) != deTailSize || tail[deOffNameLen] != 0 || tail[deOffFileType] != deTailType {
			return damaged("no room for its checksum")
		}
		b = b[:len(b)-deTailSize]
		if got, want := le.Uint32(tail[deHeader:]), crc32c(d.in.seed, b); got != want {
			return damaged("checksum is %#08x, computed %#08x", got, want)
		}
	}
	if i > 0 {
		return d.parse(b, func(e DirEntry) error {
			if index != nil && !index.holds(i, e.Name) {
				return damaged("the hash of name %q does not lead here", e.Name)
			}
			return d.add(e)
		})
	}
	n := 0
	return d.parse(b, func(e DirEntry) error {
		n++
		switch {
		case n <= 2 && d.fs.sb.has(incompat, incompatFiletype) && e.fileType != fileTypes[modeDir]:
			return damaged("%q has file type %d", e.Name, e.fileType)
		case n == 1 && e.Name == "." && e.Ino == d.in.Number:
			return nil
		case n == 2 && e.Name == "..":
			d.parent = e.Ino
			return nil
		case n > 2 && !isRoot:
			return d.add(e)
		}
		return damaged("does not begin with \".\" and \"..\"")
	})
}

func (d *dirReader) add(e DirEntry) error {
	d.entries = append(d.entries, e)
	return nil
}

// parse follows __ext4_check_dir_entry. fn gets every entry in use.
func (d *dirReader) parse(b []byte, fn func(DirEntry) error) error {
	for p := 0; p < len(b); {
		if p+deHeader > len(b) {
			return damaged("entry at %d runs past the block", p)
		}
		h := b[p:]
		length := d.fs.recLen(le.Uint16(h[deOffRecLen:]))
		nameLen, fileType := int(h[deOffNameLen]), h[deOffFileType]
		if !d.fs.sb.has(incompat, incompatFiletype) {
			nameLen, fileType = int(le.Uint16(h[deOffNameLen:])), 0
		}
		if length < deMinLen || length%4 != 0 || nameLen > maxName || length < pad4(deHeader+nameLen) || p+length > len(b) {
			return damaged("entry at %d has length %d for a name of %d bytes", p, length, nameLen)
		}
		if ino := le.Uint32(h); ino != 0 {
			if ino > d.fs.sb.inodes {
				return damaged("entry at %d refers to inode %d, which does not exist", p, ino)
			}
			if err := fn(DirEntry{string(h[deHeader:][:nameLen]), ino, fileType}); err != nil {
				return err
			}
		}
		p += length
	}
	return nil
}

// recLen follows ext4_rec_len_from_disk: a block of 64 KiB does not fit in 16
// bits, and only there have some values another meaning.
func (fs *FS) recLen(v uint16) int {
	bs := int(fs.sb.blockSize)
	switch {
	case bs < 65536:
		return int(v)
	case v == deMaxRecLen || v == 0:
		return bs
	}
	return int(v&^3) | int(v&3)<<16
}

// checkNames refuses what no path can name, and names that lead to two places.
func (d *dirReader) checkNames() error {
	seen := make(map[string]struct{}, len(d.entries))
	for _, e := range d.entries {
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") {
			return damaged("name %q is impossible", e.Name)
		}
		if _, ok := seen[e.Name]; ok {
			return damaged("name %q is there twice", e.Name)
		}
		seen[e.Name] = struct{}{}
	}
	return nil
}
