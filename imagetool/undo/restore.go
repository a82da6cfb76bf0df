package undo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Device is what is restored.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Forget() error // as that of a block.Device
}

// A Truncater is a device whose end can be moved. What is read beyond it is zeros.
type Truncater interface {
	Device
	Truncate(size int64) error
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
// reads it back from the medium. If any sector is a *MismatchError, nothing is written.
//
// The marks are first set to what they were during the change, since a change that
// came to its end has left none, and have their old bytes when all else has: whoever
// meets a half restored image without its log does not take it for a good one.
func (l *Log) Restore(dev Device) (Summary, error) {
	s, err := l.survey(dev)
	if err != nil {
		return s, err
	}
	if _, ok := dev.(Truncater); l.Image.Grown > 0 && !ok {
		return s, errors.New("the image has grown, and its end cannot be moved here")
	}
	for _, step := range []struct {
		marks bool
		bytes func(*record) []byte
	}{
		{true, func(r *record) []byte { return r.first }},
		{false, func(r *record) []byte { return r.old }},
		{true, func(r *record) []byte { return r.old }},
	} {
		if err := l.write(dev, step.marks, step.bytes); err != nil {
			return s, err
		}
		if step.marks {
			continue
		}
		if err := l.shrink(dev); err != nil {
			return s, err
		}
	}
	if err := dev.Forget(); err != nil {
		return s, err
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

// write writes either the marks or all other blocks, durably.
func (l *Log) write(dev Device, marks bool, want func(*record) []byte) error {
	for i := range l.frames {
		if l.marks[i] != marks {
			continue
		}
		r, b, err := l.both(dev, i)
		if err != nil {
			return err
		}
		if err := r.put(dev, b, want(r)); err != nil {
			return err
		}
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("writing the old bytes to disk: %w", err)
	}
	return nil
}

// shrink cuts off what the image has grown by, durably.
func (l *Log) shrink(dev Device) error {
	if l.Image.Grown == 0 {
		return nil
	}
	t := dev.(Truncater) // Restore has made sure
	if err := errors.Join(t.Truncate(l.Image.Size), t.Sync()); err != nil {
		return fmt.Errorf("cutting the image to its %d bytes: %w", l.Image.Size, err)
	}
	return nil
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

// put writes also where nothing seems to have changed, since after a failed
// sync the cache may hold what the disk does not. Zeros are left out where they
// may be a hole, for which a full disk would have no room.
func (r *record) put(dev Device, is, want []byte) error {
	if bytes.Equal(is, want) && allZero(want) {
		return nil
	}
	if _, err := dev.WriteAt(want, r.offset); err != nil {
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
