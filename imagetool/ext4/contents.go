package ext4

import (
	"fmt"
	"io"
	"sort"
)

// Contents reads the bytes of a regular file, symbolic link or directory as
// the kernel does: holes and unwritten extents are zeros, nothing lies behind
// the size. It is an io.Reader for one user and an io.ReaderAt for any number.
type Contents struct {
	fs     *FS
	number uint32
	size   int64
	inline []byte // what lies in the inode, where the file has no blocks; zeros follow
	runs   []run  // written ones that begin before the size, in logical order
	pos    int64
}

// Contents opens an inode's data.
func (fs *FS) Contents(in *Inode) (*Contents, error) {
	c := &Contents{fs: fs, number: in.Number, size: in.Size}
	switch {
	case in.has(flInlineData):
		data, err := fs.inlineData(in)
		if err != nil {
			return nil, err
		}
		c.inline = data
		return c, nil
	case fs.isFastSymlink(in):
		if in.Size >= inBlockSize {
			return nil, damaged("inode %d: symbolic link of %d bytes has no blocks", in.Number, in.Size)
		}
		c.inline = in.iBlock()[:in.Size]
		return c, nil
	case !fs.hasMap(in):
		return nil, fmt.Errorf("inode %d has no contents: it is a %s", in.Number, typeName(in.Mode))
	}
	err := fs.mapBlocks(in, mapper{run: func(r run) error {
		if !r.unwritten && int64(r.logical*fs.sb.blockSize) < c.size {
			c.runs = append(c.runs, r)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Contents) Read(p []byte) (int, error) {
	n, err := c.ReadAt(p, c.pos)
	c.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (c *Contents) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("inode %d: negative offset", c.number)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > c.size-off {
		p, eof = p[:c.size-off], io.EOF
	}
	if c.inline != nil {
		n := copy(p, c.inline[min(off, int64(len(c.inline))):])
		clear(p[n:])
		return len(p), eof
	}
	for done := 0; done < len(p); {
		n, err := c.readPart(p[done:], uint64(off)+uint64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), eof
}

// readPart fills p with what one run or the hole before it has to offer.
func (c *Contents) readPart(p []byte, off uint64) (int, error) {
	bs := c.fs.sb.blockSize
	i := sort.Search(len(c.runs), func(i int) bool { return (c.runs[i].logical+c.runs[i].count)*bs > off })
	if i == len(c.runs) {
		clear(p)
		return len(p), nil
	}
	r := c.runs[i]
	if start := r.logical * bs; off < start {
		p = p[:min(uint64(len(p)), start-off)]
		clear(p)
		return len(p), nil
	}
	p = p[:min(uint64(len(p)), (r.logical+r.count)*bs-off)]
	n, err := c.fs.r.ReadAt(p, int64(r.physical*bs+off-r.logical*bs))
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("inode %d: reading at offset %d: %w", c.number, off, err)
}

// inlineData is i_block followed by the value of system.data
// (fs/ext4/inline.c), cut to the size. The kernel keeps that attribute even when
// it is empty. A regular file may be larger than what lies there; the kernel
// reads zeros then (ext4_read_inline_folio).
func (fs *FS) inlineData(in *Inode) ([]byte, error) {
	rest, err := in.inlineRest()
	if err != nil {
		return nil, err
	}
	if in.Size > int64(inBlockSize+len(rest)) && !in.IsRegular() {
		return nil, damaged("inode %d: size is %d, but only %d bytes lie in the inode", in.Number, in.Size, inBlockSize+len(rest))
	}
	data := make([]byte, 0, inBlockSize+len(rest))
	data = append(append(data, in.iBlock()...), rest...)
	return data[:min(in.Size, int64(len(data)))], nil
}

// Readlink returns the target of a symbolic link.
func (fs *FS) Readlink(in *Inode) (string, error) {
	if !in.IsSymlink() {
		return "", fmt.Errorf("inode %d is a %s, not a symbolic link", in.Number, typeName(in.Mode))
	}
	if in.Size == 0 || in.Size >= min(maxPath, int64(fs.sb.blockSize)) { // ext4_symlink
		return "", damaged("inode %d: symbolic link of %d bytes", in.Number, in.Size)
	}
	c, err := fs.Contents(in)
	if err != nil {
		return "", err
	}
	b := make([]byte, in.Size)
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, in.Size), b); err != nil {
		return "", err
	}
	return cString(b), nil
}

// checkSymlink makes sure that a symbolic link has a target as long as it says,
// and that nobody takes the target for something else.
func (fs *FS) checkSymlink(in *Inode) error {
	if !in.IsSymlink() {
		return nil
	}
	// ext2fs_inode_has_valid_blocks2 goes by i_blocks, where values count too.
	if fs.isFastSymlink(in) && in.acl == 0 && in.units > 0 {
		return refuse("remove that attribute where the image is mounted; e2fsck would clear the link",
			"inode %d: symbolic link has an extended attribute with a value in an inode of its own, which e2fsck does not expect", in.Number)
	}
	target, err := fs.Readlink(in)
	if err != nil {
		return err
	}
	if int64(len(target)) != in.Size {
		return damaged("inode %d: symbolic link of %d bytes has a target of %d", in.Number, in.Size, len(target))
	}
	return nil
}

func typeName(mode uint16) string {
	switch mode & modeType {
	case modeRegular:
		return "regular file"
	case modeDir:
		return "directory"
	case modeSymlink:
		return "symbolic link"
	case modeChar:
		return "character device"
	case modeBlock:
		return "block device"
	case modeFIFO:
		return "fifo"
	case modeSocket:
		return "socket"
	}
	return "file of unknown type"
}
