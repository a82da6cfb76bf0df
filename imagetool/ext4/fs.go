package ext4

import (
	"errors"
	"fmt"
	"io"
)

// FS is an ext2, ext3 or ext4 file system whose superblock, features, group
// descriptors and journal were found in order.
type FS struct {
	r      io.ReaderAt
	sb     *superblock
	groups []group
}

// Open reads a file system that starts at offset 0 of r and has size bytes at
// its disposal. It returns ErrNotExt if there is none and a *RefusedError if
// reading on could give a wrong answer.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	sb, err := readSuperblock(r, size)
	if err != nil {
		return nil, err
	}
	refused, err := sb.check(r, size)
	if err != nil {
		return nil, err
	}
	if len(refused) > 0 {
		return nil, refused[0]
	}
	fs := &FS{r: r, sb: sb}
	if err := fs.readDescriptors(); err != nil {
		return nil, err
	}
	if err := fs.checkJournal(); err != nil {
		return nil, err
	}
	return fs, nil
}

// Writable says why nothing may be written to the file system, although it can be read;
// nil if there is no such reason.
func (fs *FS) Writable() error {
	if refused := fs.sb.readOnlyFeatures(); len(refused) > 0 {
		return refused[0]
	}
	return nil
}

// Info returns what the superblock says.
func (fs *FS) Info() *Info { return fs.sb.info() }

// readBlock returns a fresh copy of one block.
func (fs *FS) readBlock(block uint64) ([]byte, error) {
	b := make([]byte, fs.sb.blockSize)
	return b, fs.readInto(b, block)
}

// readInto fills b, a multiple of the block size, from block on.
func (fs *FS) readInto(b []byte, block uint64) error {
	if !fs.sb.holds(block) {
		// Needed: it cannot be read.
		return incurable("block %d is outside the file system", block)
	}
	n, err := fs.r.ReadAt(b, int64(block*fs.sb.blockSize))
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading block %d: %w", block, err)
}
