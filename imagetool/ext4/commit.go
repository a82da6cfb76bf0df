package ext4

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

func (t *Transaction) fs() *FS { return t.e.l.fs }

func (t *Transaction) offset(block uint64) int64 { return int64(block * t.fs().sb.blockSize) }

// freshBlocks are the blocks that were free so far, in ascending order.
func (t *Transaction) freshBlocks() iter.Seq2[write, error] {
	var fresh []*change
	for _, ch := range t.p.changes {
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
				if _, old, err = t.fs().xattrBlock(ch.from); err != nil {
					yield(write{}, err)
					return
				}
			}
			if !yield(write{t.offset(ch.to), t.fs().newBlock(ch, old, 1)}, nil) {
				return
			}
		}
	}
}

// bookkeeping are the block bitmaps and descriptors of the groups that gave
// blocks, and the records of the owners who got them. Backups of descriptors and
// the superblock stay as they are, as they do when the kernel allocates a block.
func (t *Transaction) bookkeeping() iter.Seq2[write, error] {
	return func(yield func(write, error) bool) {
		sb := t.fs().sb
		descs := map[uint64][]byte{} // descriptor blocks by their index
		for _, g := range slices.Sorted(maps.Keys(t.alloc.groups)) {
			ga := t.alloc.groups[g]
			if ga.taken == 0 {
				continue
			}
			bitmap := sb.bitmap(g, ga.words)
			i := g / sb.descsPerBlock()
			if descs[i] == nil {
				b, err := t.fs().readBlock(sb.descBlock(i))
				if err != nil {
					yield(write{}, err)
					return
				}
				descs[i] = b
			}
			sb.takeClusters(&t.fs().groups[g], descs[i][g%sb.descsPerBlock()*sb.descSize:][:sb.descSize], bitmap, ga.taken)
			if !yield(write{t.offset(t.fs().groups[g].blockBitmap), bitmap}, nil) {
				return
			}
		}
		for _, i := range slices.Sorted(maps.Keys(descs)) {
			if !yield(write{t.offset(sb.descBlock(i)), descs[i]}, nil) {
				return
			}
		}
		t.quotaRecords()(yield)
	}
}

// takeClusters updates a raw descriptor for n free clusters less and a new bitmap.
func (sb *superblock) takeClusters(d *group, raw, bitmap []byte, n uint64) {
	free := d.freeClusters - n
	le.PutUint16(raw[gdFreeBlocksLo:], uint16(free))
	if sb.descSize >= gdSize64 {
		le.PutUint16(raw[gdFreeBlocksHi:], uint16(free>>16))
	}
	if sb.metadataCsum() {
		sum := sb.bitmapChecksum(bitmap, sb.clustersPerGroup)
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

// superblock is what it is in the end: with less free blocks and, since attributes
// are there now, the ext_attr feature (ext4_xattr_update_super_block). That takes a
// superblock which has features (ext4_update_dynamic_rev).
func (t *Transaction) superblock() []byte {
	sb := t.fs().sb
	raw := bytes.Clone(sb.raw[:])
	free := sb.freeBlocks - t.p.newBlocks(sb)
	le.PutUint32(raw[sbFreeBlocksLo:], uint32(free))
	if sb.has(incompat, incompat64Bit) {
		le.PutUint32(raw[sbFreeBlocksHi:], uint32(free>>32))
	}
	le.PutUint32(raw[sbFeatureCompat:], sb.features[compat]|compatExtAttr)
	if sb.u32(sbRevLevel) < dynamicRev {
		le.PutUint32(raw[sbRevLevel:], dynamicRev)
		le.PutUint32(raw[sbFirstIno:], sb.firstInode)
		le.PutUint16(raw[sbInodeSize:], uint16(sb.inodeSize))
	}
	return sb.sealed(raw)
}

// unclean is the superblock as it was, but for EXT4_VALID_FS: whoever meets the
// file system half written is told to check it.
func (sb *superblock) unclean() []byte {
	raw := bytes.Clone(sb.raw[:])
	le.PutUint16(raw[sbState:], sb.u16(sbState)&^stateValid)
	return sb.sealed(raw)
}

// sealed sets the checksum.
func (sb *superblock) sealed(raw []byte) []byte {
	if sb.metadataCsum() {
		le.PutUint32(raw[sbChecksum:], crc32c(^uint32(0), raw[:sbChecksum]))
	}
	return raw
}

// references are the inodes and the attribute blocks that stay, in ascending
// order. Only from here on does anything refer to the new blocks.
func (t *Transaction) references(r io.ReaderAt) iter.Seq2[write, error] {
	tables := t.inodeEdits()
	blocks := slices.AppendSeq(slices.Collect(maps.Keys(tables)), maps.Keys(t.p.edits))
	slices.Sort(blocks)
	return func(yield func(write, error) bool) {
		for _, b := range blocks {
			var data []byte
			var err error
			if edit := t.p.edits[b]; edit != nil {
				data, err = t.editedBlock(b, edit)
			} else {
				data, err = t.inodeBlock(r, b, tables[b])
			}
			if !yield(write{t.offset(b), data}, err) {
				return
			}
		}
	}
}

func (t *Transaction) editedBlock(block uint64, edit *blockEdit) ([]byte, error) {
	raw, entries, err := t.fs().xattrBlock(block)
	if err != nil {
		return nil, err
	}
	if edit.change != nil {
		return t.fs().newBlock(edit.change, entries, edit.refs), nil
	}
	t.fs().setRefs(block, raw, edit.refs)
	return raw, nil
}

// An inodeEdit changes one inode.
type inodeEdit struct {
	number uint32
	apply  func(*Inode) error
}

// inodeEdits are all that happens to inodes, by blocks of the inode tables.
func (t *Transaction) inodeEdits() map[uint64][]inodeEdit {
	tables := map[uint64][]inodeEdit{}
	add := func(number uint32, apply func(*Inode) error) {
		block, _, _ := t.fs().inodeLocation(number)
		tables[block] = append(tables[block], inodeEdit{number, apply})
	}
	for _, ch := range t.p.changes {
		add(ch.inode.Number, func(in *Inode) error {
			if !bytes.Equal(in.raw, ch.inode.raw) {
				return fmt.Errorf("inode %d changed since it was read", in.Number)
			}
			return ch.rewrite(t.fs(), in, t.e.opt.Time)
		})
	}
	for number, gained := range t.p.values {
		add(number, func(in *Inode) error {
			in.setValueRefs(in.valueRefs() + gained)
			t.fs().sealInode(in)
			return nil
		})
	}
	return tables
}

// inodeBlock changes the inodes in one block of an inode table.
func (t *Transaction) inodeBlock(r io.ReaderAt, block uint64, edits []inodeEdit) ([]byte, error) {
	raw := make([]byte, t.fs().sb.blockSize)
	if _, err := r.ReadAt(raw, t.offset(block)); err != nil && err != io.EOF {
		return nil, err
	}
	for _, e := range edits {
		_, off, _ := t.fs().inodeLocation(e.number)
		at := raw[off:][:t.fs().sb.inodeSize]
		in, err := t.fs().decodeInode(e.number, bytes.Clone(at))
		if err != nil {
			return nil, err
		}
		if err := e.apply(in); err != nil {
			return nil, err
		}
		copy(at, in.raw)
	}
	return raw, nil
}
