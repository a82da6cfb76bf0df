package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// A Transaction is an Edit that is planned to the last byte.
type Transaction struct {
	e     *Edit
	p     *plan
	alloc *allocator
}

// A Block is one stretch of bytes that a Transaction changes. Versions are what it
// holds after each of the writes to it, the last one for good.
type Block struct {
	Offset   int64
	Versions [][]byte
}

// Prepare decides where everything goes. It writes nothing.
func (e *Edit) Prepare() (*Transaction, error) {
	p, err := e.plan()
	if err != nil {
		return nil, err
	}
	alloc, err := p.assign(e.l)
	if err != nil {
		return nil, err
	}
	return &Transaction{e, p, alloc}, nil
}

// Commit is Prepare, and then Commit of the Transaction.
func (e *Edit) Commit(ctx context.Context, dev Device) error {
	t, err := e.Prepare()
	if err != nil {
		return err
	}
	return t.Commit(ctx, dev)
}

// Empty reports whether there is nothing to write.
func (t *Transaction) Empty() bool { return len(t.p.changes) == 0 }

// Blocks are all blocks that Commit writes, each of them once, in the order in
// which their first versions are written.
func (t *Transaction) Blocks() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		if t.Empty() {
			return
		}
		if !yield(Block{superOffset, [][]byte{t.fs().sb.unclean(), t.superblock()}}, nil) {
			return
		}
		for _, s := range t.steps(t.fs().r) {
			for w, err := range s.writes {
				if !yield(Block{w.off, [][]byte{w.data}}, err) || err != nil {
					return
				}
			}
		}
	}
}

// Commit marks the file system as not clean, and then writes in steps that are each
// durable before the next: the new attribute blocks, which nothing refers to yet;
// the bitmaps and counts; the inodes and the attribute blocks that stay. It reads
// all of it back and checks the whole file system again. The superblock, clean
// again, comes last.
//
// dev must hold what the FS was opened on. A failed Commit leaves it in any
// state in between.
func (t *Transaction) Commit(ctx context.Context, dev Device) error {
	if t.Empty() {
		return nil
	}
	if err := putSuperblock(ctx, dev, t.fs().sb.unclean()); err != nil {
		return err
	}
	for _, s := range t.steps(dev) {
		if err := s.run(ctx, dev); err != nil {
			return fmt.Errorf("writing %s: %w", s.name, err)
		}
	}
	final := t.superblock()
	if err := t.readBack(ctx, &patched{dev, write{superOffset, final}}); err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	return putSuperblock(ctx, dev, final)
}

// putSuperblock writes the superblock and reads it back.
func putSuperblock(ctx context.Context, dev Device, raw []byte) error {
	s := step{writes: func(yield func(write, error) bool) { yield(write{superOffset, raw}, nil) }}
	if err := s.run(ctx, dev); err != nil {
		return fmt.Errorf("writing the superblock: %w", err)
	}
	got := make([]byte, len(raw))
	if _, err := dev.ReadAt(got, superOffset); err != nil {
		return fmt.Errorf("reading back the superblock: %w", err)
	}
	if !bytes.Equal(got, raw) {
		return errors.New("reading back the superblock: it is not what was written")
	}
	return nil
}

// A write is one stretch of bytes and where it goes.
type write struct {
	off  int64
	data []byte
}

// A step is written in any order and then made durable.
type step struct {
	name   string
	writes iter.Seq2[write, error]
}

// steps are what lies between the two writes of the superblock. r has the inodes
// as they are.
func (t *Transaction) steps(r io.ReaderAt) []step {
	return []step{
		{"new extended attribute blocks", t.freshBlocks()},
		{"bitmaps and counts", t.bookkeeping()},
		{"inodes", t.references(r)},
	}
}

// run joins what is contiguous.
func (s step) run(ctx context.Context, dev Device) error {
	const limit = 1 << 20
	var at int64
	buf := make([]byte, 0, limit)
	flush := func() error {
		if err := ctx.Err(); err != nil || len(buf) == 0 {
			return err
		}
		_, err := dev.WriteAt(buf, at)
		buf = buf[:0]
		return err
	}
	for w, err := range s.writes {
		if err != nil {
			return err
		}
		if w.off != at+int64(len(buf)) || len(buf)+len(w.data) > limit {
			if err := flush(); err != nil {
				return err
			}
			at = w.off
		}
		buf = append(buf, w.data...)
	}
	if err := flush(); err != nil {
		return err
	}
	return dev.Sync()
}

// patched reads a device as if one more write had been made.
type patched struct {
	io.ReaderAt
	w write
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	from, to := max(off, p.w.off), min(off+int64(n), p.w.off+int64(len(p.w.data)))
	if from < to {
		copy(b[from-off:to-off], p.w.data[from-p.w.off:])
	}
	return n, err
}
