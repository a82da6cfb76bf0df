package undo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
)

// A Device is what is restored.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// A Summary is what Restore found.
type Summary struct {
	Blocks  int // in the log
	Changed int // of them, how many did not hold what they had held
}

// A MismatchError says that a sector holds neither what it held before the run, nor
// what the run wrote.
type MismatchError struct {
	Offset int64
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the %d bytes at %d are neither what they were before nor what was to be written: "+
		"the image was changed since, or is not the one of this log", sectorSize, e.Offset)
}

// Restore gives each block of the log the bytes that it had, makes that durable and
// reads it back. If any sector is a *MismatchError, nothing is written.
func (l *Log) Restore(dev Device) (Summary, error) {
	s, err := l.survey(dev)
	if err != nil {
		return s, err
	}
	// From the last to the first, since the first marks the file system as not clean.
	for i := range slices.Backward(l.frames) {
		if err := l.restore(dev, i); err != nil {
			return s, err
		}
	}
	if err := dev.Sync(); err != nil {
		return s, fmt.Errorf("writing the old bytes to disk: %w", err)
	}
	for i := range l.frames {
		r, b, err := l.both(dev, i)
		if err != nil {
			return s, err
		}
		if !bytes.Equal(r.old, b) {
			return s, fmt.Errorf("reading back the old bytes at %d: they are not there", r.offset)
		}
	}
	return s, nil
}

// survey looks at all blocks and writes none.
func (l *Log) survey(r io.ReaderAt) (Summary, error) {
	s := Summary{Blocks: len(l.frames)}
	for i := range l.frames {
		rec, b, err := l.both(r, i)
		if err != nil {
			return s, err
		}
		if bytes.Equal(rec.old, b) {
			continue
		}
		s.Changed++
		if err := rec.check(b); err != nil {
			return s, err
		}
	}
	return s, nil
}

// check allows a torn block: each sector for itself may be of any version.
func (r *record) check(b []byte) error {
	for i := 0; i < len(b); i += sectorSize {
		sector := b[i:][:sectorSize]
		if bytes.Equal(sector, r.old[i:][:sectorSize]) {
			continue
		}
		sum := sha256.Sum256(sector)
		if !slices.ContainsFunc(r.versions, func(v [][sha256.Size]byte) bool { return v[i/sectorSize] == sum }) {
			return &MismatchError{r.offset + int64(i)}
		}
	}
	return nil
}

// restore writes also where nothing seems to have changed, since after a failed
// sync the cache may hold what the disk does not. Zeros are left out where they
// may be a hole, for which a full disk would have no room.
func (l *Log) restore(dev Device, i int) error {
	r, b, err := l.both(dev, i)
	if err != nil {
		return err
	}
	if r.zero && bytes.Equal(r.old, b) {
		return nil
	}
	if _, err := dev.WriteAt(r.old, r.offset); err != nil {
		return fmt.Errorf("writing the old bytes at %d: %w", r.offset, err)
	}
	return nil
}

// both gives a block as it was, and as it is.
func (l *Log) both(dev io.ReaderAt, i int) (*record, []byte, error) {
	r, err := l.record(i)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the undo log again: %w", err)
	}
	b := make([]byte, len(r.old))
	return r, b, readFull(dev, b, r.offset)
}
