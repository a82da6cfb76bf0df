package ext4

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

// Commit writes everything that was staged, in steps that are each durable
// before the next: the new attribute blocks, which nothing refers to yet; the
// bitmaps, counts and the superblock; the inodes and the attribute blocks that
// stay. Then it reads all of it back and checks the whole file system again.
//
// dev must hold what the FS was opened on. A failed Commit leaves it in any
// state in between.
func (e *Edit) Commit(ctx context.Context, dev Device) error {
	if len(e.values) == 0 {
		return nil
	}
	p, err := e.plan()
	if err != nil {
		return err
	}
	alloc, err := p.assign(e.l)
	if err != nil {
		return err
	}
	c := &committer{e: e, p: p, alloc: alloc, dev: dev}
	for _, step := range []struct {
		name   string
		writes iter.Seq2[write, error]
	}{
		{"new extended attribute blocks", c.freshBlocks()},
		{"bitmaps and counts", c.bookkeeping()},
		{"inodes", c.references()},
	} {
		if err := c.run(ctx, step.writes); err != nil {
			return fmt.Errorf("writing %s: %w", step.name, err)
		}
	}
	return e.readBack(ctx, p, dev)
}

// A write is one stretch of bytes and where it goes.
type write struct {
	off  int64
	data []byte
}

type committer struct {
	e     *Edit
	p     *plan
	alloc *allocator
	dev   Device
}

func (c *committer) fs() *FS { return c.e.l.fs }

// run writes one step, joining what is contiguous, and makes it durable.
func (c *committer) run(ctx context.Context, writes iter.Seq2[write, error]) error {
	const limit = 1 << 20
	var at int64
	buf := make([]byte, 0, limit)
	flush := func() error {
		if err := ctx.Err(); err != nil || len(buf) == 0 {
			return err
		}
		_, err := c.dev.WriteAt(buf, at)
		buf = buf[:0]
		return err
	}
	for w, err := range writes {
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
	return c.dev.Sync()
}

func (c *committer) offset(block uint64) int64 { return int64(block * c.fs().sb.blockSize) }

// freshBlocks are the blocks that were free so far, in ascending order.
func (c *committer) freshBlocks() iter.Seq2[write, error] {
	var fresh []*change
	for _, ch := range c.p.changes {
		if ch.fresh {
			fresh = append(fresh, ch)
		}
	}
	slices.SortFunc(fresh, func(a, b *change) int { return cmp.Compare(a.to, b.to) })
	return func(yield func(write, error) bool) {
		for _, ch := range fresh {
			var old []entry
			if ch.from != 0 {
				var err error
				if _, old, err = c.fs().xattrBlock(ch.from); err != nil {
					yield(write{}, err)
					return
				}
			}
			if !yield(write{c.offset(ch.to), c.fs().newBlock(ch, old, 1)}, nil) {
				return
			}
		}
	}
}

// bookkeeping are the block bitmaps and descriptors of the groups that gave
// blocks, and the superblock. Backups of the last two stay as they are, as
// they do when the kernel allocates a block.
func (c *committer) bookkeeping() iter.Seq2[write, error] {
	return func(yield func(write, error) bool) {
		sb := c.fs().sb
		descs := map[uint64][]byte{} // descriptor blocks by their index
		for _, g := range slices.Sorted(maps.Keys(c.alloc.groups)) {
			ga := c.alloc.groups[g]
			if ga.taken == 0 {
				continue
			}
			bitmap := sb.bitmap(g, ga.words)
			i := g / sb.descsPerBlock()
			if descs[i] == nil {
				b, err := c.fs().readBlock(sb.descBlock(i))
				if err != nil {
					yield(write{}, err)
					return
				}
				descs[i] = b
			}
			sb.takeBlocks(&c.fs().groups[g], descs[i][g%sb.descsPerBlock()*sb.descSize:][:sb.descSize], bitmap, ga.taken)
			if !yield(write{c.offset(c.fs().groups[g].blockBitmap), bitmap}, nil) {
				return
			}
		}
		for _, i := range slices.Sorted(maps.Keys(descs)) {
			if !yield(write{c.offset(sb.descBlock(i)), descs[i]}, nil) {
				return
			}
		}
		if raw := sb.afterwards(uint64(c.p.fresh)); !bytes.Equal(raw, sb.raw[:]) {
			yield(write{superOffset, raw}, nil)
		}
	}
}

// takeBlocks updates a raw descriptor for n blocks less and a new bitmap.
func (sb *superblock) takeBlocks(d *group, raw, bitmap []byte, n uint64) {
	free := d.freeBlocks - n
	le.PutUint16(raw[gdFreeBlocksLo:], uint16(free))
	if sb.descSize >= gdSize64 {
		le.PutUint16(raw[gdFreeBlocksHi:], uint16(free>>16))
	}
	if sb.metadataCsum() {
		sum := sb.bitmapChecksum(bitmap, sb.blocksPerGroup)
		le.PutUint16(raw[gdBlockBitmapSumLo:], uint16(sum))
		if sb.descSize >= gdSize64 {
			le.PutUint16(raw[gdBlockBitmapSumHi:], uint16(sum>>16))
		}
	}
	if sb.groupCsum() {
		le.PutUint16(raw[gdFlags:], d.flags&^bgBlockUninit)
		le.PutUint16(raw[gdChecksum:], sb.descChecksum(d.number, raw))
	}
}

// afterwards is the superblock with n free blocks less and, since attributes
// are there now, the ext_attr feature (ext4_xattr_update_super_block).
func (sb *superblock) afterwards(n uint64) []byte {
	raw := bytes.Clone(sb.raw[:])
	free := sb.freeBlocks - n
	le.PutUint32(raw[sbFreeBlocksLo:], uint32(free))
	if sb.has(incompat, incompat64Bit) {
		le.PutUint32(raw[sbFreeBlocksHi:], uint32(free>>32))
	}
	le.PutUint32(raw[sbFeatureCompat:], sb.features[compat]|compatExtAttr)
	if sb.metadataCsum() {
		le.PutUint32(raw[sbChecksum:], crc32c(^uint32(0), raw[:sbChecksum]))
	}
	return raw
}

// references are the inodes and the attribute blocks that stay, in ascending
// order. Only from here on does anything refer to the new blocks.
func (c *committer) references() iter.Seq2[write, error] {
	tables := map[uint64][]*change{} // blocks of the inode tables
	for _, ch := range c.p.changes {
		block, _, _ := c.fs().inodeLocation(ch.inode.Number)
		tables[block] = append(tables[block], ch)
	}
	blocks := slices.AppendSeq(slices.Collect(maps.Keys(tables)), maps.Keys(c.p.edits))
	slices.Sort(blocks)
	return func(yield func(write, error) bool) {
		for _, b := range blocks {
			var data []byte
			var err error
			if edit := c.p.edits[b]; edit != nil {
				data, err = c.editedBlock(b, edit)
			} else {
				data, err = c.inodeBlock(b, tables[b])
			}
			if !yield(write{c.offset(b), data}, err) {
				return
			}
		}
	}
}

func (c *committer) editedBlock(block uint64, edit *blockEdit) ([]byte, error) {
	raw, entries, err := c.fs().xattrBlock(block)
	if err != nil {
		return nil, err
	}
	if edit.change != nil {
		return c.fs().newBlock(edit.change, entries, edit.refs), nil
	}
	c.fs().setRefs(block, raw, edit.refs)
	return raw, nil
}

// inodeBlock changes the inodes in one block of an inode table.
func (c *committer) inodeBlock(block uint64, changes []*change) ([]byte, error) {
	raw := make([]byte, c.fs().sb.blockSize)
	if _, err := c.dev.ReadAt(raw, c.offset(block)); err != nil && err != io.EOF {
		return nil, err
	}
	for _, ch := range changes {
		_, off, _ := c.fs().inodeLocation(ch.inode.Number)
		at := raw[off:][:c.fs().sb.inodeSize]
		if !bytes.Equal(at, ch.inode.raw) {
			return nil, fmt.Errorf("inode %d changed since it was read", ch.inode.Number)
		}
		in := *ch.inode
		in.raw = bytes.Clone(at)
		if err := ch.rewrite(c.fs(), &in, c.e.opt.Time); err != nil {
			return nil, err
		}
		copy(at, in.raw)
	}
	return raw, nil
}
