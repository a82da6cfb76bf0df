package ext4

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// A Transaction is an Edit that is planned to the last byte.
type Transaction struct {
	e     *Edit
	p     *plan
	alloc *allocator
	marks marks
}

// A Block is one stretch of bytes that a Transaction changes. Versions are what it
// holds after each of the writes to it, the last one for good.
type Block struct {
	Offset   int64
	Versions [][]byte
}

// Prepare decides where everything goes. It writes nothing.
func (e *Edit) Prepare() (*Transaction, error) {
	if err := e.l.fs.Writable(); err != nil {
		return nil, err
	}
	p, err := e.plan()
	if err != nil {
		return nil, err
	}
	alloc, err := p.assign(e.l)
	if err != nil {
		return nil, err
	}
	t := &Transaction{e: e, p: p, alloc: alloc}
	t.marks, err = t.markings()
	return t, err
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
		for _, m := range t.marks {
			if !yield(Block{m.off, [][]byte{m.during, m.after}}, nil) {
				return
			}
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

// Commit marks the file system as not clean, and as in use where hosts may share
// it, and then writes in steps that are each durable before the next: the new
// attribute blocks, which nothing refers to yet; the bitmaps and counts; the inodes
// and the attribute blocks that stay. It reads all of it back, from the medium, and checks
// the whole file system again. The marks, clean again, come last.
//
// dev must hold what the FS was opened on. A failed Commit leaves it in any
// state in between.
func (t *Transaction) Commit(ctx context.Context, dev Device) error {
	if t.Empty() {
		return nil
	}
	if err := t.marks.expect(dev, (*mark).isBefore); err != nil {
		return err
	}
	if err := t.marks.put(ctx, dev, (*mark).isDuring); err != nil {
		return err
	}
	for _, s := range t.steps(dev) {
		if err := s.run(ctx, dev); err != nil {
			return fmt.Errorf("writing %s: %w", s.name, err)
		}
	}
	if err := dev.Forget(); err != nil {
		return err
	}
	if err := t.readBack(ctx, t.marks.hide(dev)); err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if err := t.marks.expect(dev, (*mark).isDuring); err != nil {
		return err
	}
	if err := t.marks.put(ctx, dev, (*mark).isAfter); err != nil {
		return err
	}
	if err := dev.Forget(); err != nil {
		return err
	}
	return t.marks.expect(dev, (*mark).isAfter)
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
