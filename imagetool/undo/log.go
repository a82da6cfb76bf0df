package undo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
)

// A Block is one stretch of bytes that is going to be changed, in whole sectors.
// Versions are what it will hold after each of the writes to it. One that has several
// is a mark: the first says that the rest is being changed, and is written before it.
type Block struct {
	Offset   int64
	Versions [][]byte
}

// Write writes a log of what r holds in these blocks, none of which may overlap
// another.
func Write(w io.Writer, image Image, r io.ReaderAt, blocks iter.Seq2[Block, error]) error {
	if len(image.Name) > maxName {
		image.Name = image.Name[:maxName]
	}
	out := &writer{bufio.NewWriterSize(w, 1<<20), sha256.New()}
	out.w.WriteString(magic)
	out.sum.Write([]byte(magic))
	out.frame(image.encode())
	if image.Grown > image.Size {
		out.frame(image.encodeGrown())
	}
	n := uint64(0)
	for b, err := range blocks {
		if err != nil {
			return err
		}
		rec, err := newRecord(r, &b)
		if err != nil {
			return err
		}
		p := rec.encode()
		if _, err := decodeRecord(p, image.limit()); err != nil {
			return err
		}
		out.frame(p)
		n++
	}
	out.frame(out.sum.Sum(le.AppendUint64([]byte{kindEnd}, n)))
	return out.w.Flush()
}

func newRecord(r io.ReaderAt, b *Block) (*record, error) {
	rec := &record{offset: b.Offset}
	for _, v := range b.Versions {
		if rec.old == nil {
			rec.old = make([]byte, len(v))
		}
		if len(v) != len(rec.old) || len(v)%sectorSize != 0 {
			return nil, fmt.Errorf("block at %d has versions of %d and %d bytes", b.Offset, len(rec.old), len(v))
		}
		rec.versions = append(rec.versions, digests(v))
	}
	if rec.isMark() {
		rec.first = b.Versions[0]
	}
	if err := readFull(r, rec.old, b.Offset); err != nil {
		return nil, err
	}
	return rec, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(b), off, err)
}

// A Log is a log that was read and found whole.
type Log struct {
	Image  Image
	r      io.ReaderAt
	frames []int64 // where the blocks are
	marks  []bool  // which of them are marks
}

// A DamagedError says that something is no undo log, or not any more.
type DamagedError struct {
	Err error
}

func (e *DamagedError) Error() string { return e.Err.Error() }

func (e *DamagedError) Unwrap() error { return e.Err }

// Read checks a log of this size. It keeps r. An error is a *DamagedError.
func Read(r io.ReaderAt, size int64) (*Log, error) {
	l, err := read(r, size)
	if err != nil {
		return nil, &DamagedError{err}
	}
	return l, nil
}

func read(r io.ReaderAt, size int64) (*Log, error) {
	l := &Log{r: r}
	in := &reader{bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<20), sha256.New(), 0}
	got, err := in.bytes(len(magic))
	if err != nil {
		return nil, err
	}
	if string(got) != magic {
		return nil, fmt.Errorf("it is no undo log of this version")
	}
	in.sum.Write(got)
	p, err := in.frame()
	if err != nil {
		return nil, err
	}
	if l.Image, err = decodeImage(p); err != nil {
		return nil, err
	}
	for {
		at, sum := in.pos, in.sum.Sum(nil)
		p, err := in.frame()
		if err != nil {
			return nil, err
		}
		if p[0] == kindEnd {
			want := append(le.AppendUint64([]byte{kindEnd}, uint64(len(l.frames))), sum...)
			if !bytes.Equal(p, want) || in.pos != size {
				return nil, fmt.Errorf("it does not end as it should")
			}
			return l, nil
		}
		if p[0] == kindGrown && len(l.frames) == 0 {
			if err := l.Image.decodeGrown(p); err != nil {
				return nil, err
			}
			continue
		}
		rec, err := decodeRecord(p, l.Image.limit())
		if err != nil {
			return nil, err
		}
		l.frames, l.marks = append(l.frames, at), append(l.marks, rec.isMark())
	}
}

// record reads one block again, the checksum included.
func (l *Log) record(i int) (*record, error) {
	in := &reader{bufio.NewReader(io.NewSectionReader(l.r, l.frames[i], 4+maxFrame+sha256.Size)), sha256.New(), 0}
	p, err := in.frame()
	if err != nil {
		return nil, err
	}
	return decodeRecord(p, l.Image.limit())
}
