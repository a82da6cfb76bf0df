package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/undo"
)

const (
	sector   = 512
	unit     = 4 << 10  // what is compared
	maxBlock = 64 << 10 // of an undo log
)

// halfWay stands in the file in place of its signature while it is being written.
const halfWay = "\nvmseal: this image was being changed, and that was cut short. 'imagetool recover' brings it back.\n"

// A Change writes what a finished copy has to a file.
type Change struct {
	from, to block.Device // the copy, and the file as it was
	file     undo.Truncater
	mark     int64  // where the sector begins that has the signature
	spans    []span // what differs besides
	marked   []byte // that sector while the rest is being written
	size     int64  // of the copy
}

// A span is a stretch of bytes that differ, in whole sectors.
type span struct {
	off int64
	n   int
}

var _ undo.Change = (*Change)(nil)

// Compare finds what differs between a finished copy and the file as it is. The signature
// lies in the sector at the offset. file is what is to be written to.
func Compare(ctx context.Context, from, to block.Device, signature int64, file undo.Truncater) (*Change, error) {
	c := &Change{from: from, to: to, file: file, mark: signature, marked: make([]byte, sector), size: from.Size()}
	if c.size < to.Size() {
		return nil, fmt.Errorf("%s has become smaller: %d bytes of %d", to.Name(), c.size, to.Size())
	}
	if signature%sector != 0 || signature > c.size-sector {
		return nil, fmt.Errorf("the signature of %s at %d does not lie in one sector", to.Name(), signature)
	}
	copy(c.marked, halfWay)
	const stretch = 1 << 20
	buf := [2][]byte{make([]byte, stretch), make([]byte, stretch)}
	for at := int64(0); at < c.limit(); at += stretch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.compare(at, min(stretch, c.limit()-at), buf); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// compare looks at one stretch.
func (c *Change) compare(at, n int64, buf [2][]byte) error {
	if isHole(c.from, at, at+n) && isHole(c.to, at, at+n) {
		return nil
	}
	is, want := buf[0][:n], buf[1][:n]
	if err := errors.Join(fill(is, c.to, at), fill(want, c.from, at)); err != nil {
		return err
	}
	for i := 0; i < len(want); i += unit {
		k := min(unit, len(want)-i)
		if !bytes.Equal(is[i:][:k], want[i:][:k]) {
			c.addAround(at+int64(i), k)
		}
	}
	return nil
}

// addAround leaves out the mark, which is a block of its own: a disk writes a sector as a
// whole, so that it is there or not.
func (c *Change) addAround(off int64, n int) {
	if c.mark < off || c.mark >= off+int64(n) {
		c.add(off, n)
		return
	}
	before := int(c.mark - off)
	if before > 0 {
		c.add(off, before)
	}
	if rest := n - before - sector; rest > 0 {
		c.add(c.mark+sector, rest)
	}
}

// add joins what touches, up to what fits into a block of the log.
func (c *Change) add(off int64, n int) {
	if last := len(c.spans) - 1; last >= 0 {
		if s := &c.spans[last]; s.off+int64(s.n) == off && s.n+n <= maxBlock {
			s.n += n
			return
		}
	}
	c.spans = append(c.spans, span{off, n})
}

// isHole reports whether a device has no data in a range. Beyond its end there is none.
func isHole(d block.Device, from, to int64) bool {
	for range d.Data(min(from, d.Size()), min(to, d.Size())) {
		return false
	}
	return true
}

// read reads whole sectors.
func (c *Change) read(d block.Device, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, fill(b, d, off)
}

// fill reads, and takes zeros for what lies beyond the end.
func fill(b []byte, d block.Device, off int64) error {
	k := max(0, min(int64(len(b)), d.Size()-off))
	clear(b[k:])
	if err := block.ReadFull(d, b[:k], off); err != nil {
		return fmt.Errorf("reading %d bytes of %s at %d: %w", k, d.Name(), off, err)
	}
	return nil
}

// limit is the end of the last sector.
func (c *Change) limit() int64 { return (c.size + sector - 1) / sector * sector }

// Grown is up to where the file will be written to, if that is beyond its end; else 0.
func (c *Change) Grown() int64 {
	if c.limit() > c.to.Size() {
		return c.limit()
	}
	return 0
}

// Blocks are the mark and all that differs.
func (c *Change) Blocks() iter.Seq2[undo.Block, error] {
	return func(yield func(undo.Block, error) bool) {
		last, err := c.read(c.from, c.mark, sector)
		if !yield(undo.Block{Offset: c.mark, Versions: [][]byte{c.marked, last}}, err) || err != nil {
			return
		}
		for _, s := range c.spans {
			b, err := c.read(c.from, s.off, s.n)
			if !yield(undo.Block{Offset: s.off, Versions: [][]byte{b}}, err) || err != nil {
				return
			}
		}
	}
}

// Commit marks the file, writes what differs, reads it back and takes the mark away, each
// of which is durable before the next.
func (c *Change) Commit(ctx context.Context) error {
	if err := c.put(c.mark, c.marked); err != nil {
		return err
	}
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("writing the mark to disk: %w", err)
	}
	// Holes in the tail stay holes.
	if err := c.file.Truncate(max(c.size, c.to.Size())); err != nil {
		return err
	}
	if err := c.writeSpans(ctx); err != nil {
		return err
	}
	if err := errors.Join(c.file.Truncate(c.size), c.file.Sync()); err != nil {
		return fmt.Errorf("writing what differs to disk: %w", err)
	}
	if err := c.readBack(ctx); err != nil {
		return err
	}
	last, err := c.read(c.from, c.mark, sector)
	if err == nil {
		err = c.put(c.mark, last)
	}
	if err != nil {
		return err
	}
	return errors.Join(c.file.Truncate(c.size), c.file.Sync())
}

func (c *Change) writeSpans(ctx context.Context) error {
	for _, s := range c.spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := c.read(c.from, s.off, s.n)
		if err != nil {
			return err
		}
		if err := c.put(s.off, b); err != nil {
			return err
		}
	}
	return nil
}

func (c *Change) readBack(ctx context.Context) error {
	for _, s := range c.spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		want, err := c.read(c.from, s.off, s.n)
		if err != nil {
			return err
		}
		is := make([]byte, len(want))
		if _, err := c.file.ReadAt(is, s.off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading back: %w", err)
		}
		if !bytes.Equal(is, want) {
			return fmt.Errorf("reading back %d bytes at %d: they are not what was written", s.n, s.off)
		}
	}
	return nil
}

func (c *Change) put(off int64, b []byte) error {
	if _, err := c.file.WriteAt(b, off); err != nil {
		return fmt.Errorf("writing %d bytes at %d: %w", len(b), off, err)
	}
	return nil
}
