package ext4

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
)

// A quotaKind is one of the three kinds of owners whose usage is recorded
// (enum quota_type in include/linux/quota.h).
type quotaKind struct {
	name  string
	field int    // of the superblock: which inode has the record
	inode uint32 // the inode that it must be, 0 for any
	magic uint32 // V2_INITQMAGICS in fs/quota/quotaio_v2.h
}

var quotaKinds = []quotaKind{
	{"user", sbUserQuotaInum, inoUserQuota, 0xd9c01f11},
	{"group", sbGroupQuotaInum, inoGroupQuota, 0xd9c01927},
	projectQuota,
}

var projectQuota = quotaKind{"project", sbProjectQuotaInum, 0, 0xd9c03f14}

// id is the owner of an inode. One without a project belongs to project 0
// (EXT4_DEF_PROJID).
func (k *quotaKind) id(in *Inode) uint32 {
	switch {
	case k.field == sbUserQuotaInum:
		return in.UID
	case k.field == sbGroupQuotaInum:
		return in.GID
	case in.hasField(inProjectID):
		return le.Uint32(in.raw[inProjectID:])
	}
	return 0
}

// quotaInode is the inode of a quota file, 0 if there is none. Without the feature the
// numbers in the superblock mean nothing; go-diskfs writes them all the same.
func (sb *superblock) quotaInode(k quotaKind) uint32 {
	if !sb.has(roCompat, roQuota) {
		return 0
	}
	return sb.u32(k.field)
}

// checkQuotaInodes says whether the quota files lie where they have to. A file that the
// superblock takes for one of them is none for the kernel, even without the feature
// (is_special_ino in fs/ext4/inode.c).
func (sb *superblock) checkQuotaInodes() *RefusedError {
	for _, k := range quotaKinds {
		n := sb.u32(k.field)
		switch {
		case n == 0 || n < sb.firstInode && !sb.has(roCompat, roQuota) || n > sb.inodes && !sb.has(roCompat, roQuota):
		case !sb.has(roCompat, roQuota):
			return incurable("superblock names inode %d as file of %s quotas, but the feature quota is missing", n, k.name)
		case k.inode != 0 && n != k.inode: // as made by the first e2fsprogs that could
			return damaged("file of %s quotas is inode %d, expected %d", k.name, n, k.inode)
		case k.inode == 0 && (n < sb.firstInode || n > sb.inodes || sb.has(compat, compatOrphanFile) && n == sb.u32(sbOrphanFileInum)):
			return damaged("file of %s quotas cannot be inode %d", k.name, n)
		}
	}
	return nil
}

// A quota compares what a quota file records of one kind of owners with what
// the pass counts.
type quota struct {
	kind    quotaKind
	file    *Contents
	counted map[uint32]usage
	dquots  map[uint32]dquot
}

func newQuotas(sb *superblock) (out []*quota) {
	for _, k := range quotaKinds {
		if sb.quotaInode(k) != 0 {
			out = append(out, &quota{kind: k, counted: map[uint32]usage{}})
		}
	}
	return out
}

// charge counts what an inode costs its owners: its blocks, those of its
// attributes, and an inode for each value that lies in one. What neither has nor
// ever had a name costs nobody anything (check_blocks in e2fsck/pass1.c). Nor does a
// symbolic link that is inline data: the kernel counts it, but e2fsck does not.
func (l *Listing) charge(in *Inode, cost usage) {
	if l.fs.isHidden(in.Number) || in.has(flEAInode) || in.IsSymlink() && in.has(flInlineData) {
		return
	}
	for _, q := range l.quotas {
		id := q.kind.id(in)
		u := q.counted[id]
		q.counted[id] = usage{u.space + cost.space, u.inodes + cost.inodes}
	}
}

// checkQuotas holds the quota files against what was counted.
func (l *Listing) checkQuotas() error {
	for _, q := range l.quotas {
		if err := q.read(l); err != nil {
			return fmt.Errorf("file of %s quotas: %w", q.kind.name, err)
		}
		if err := q.compare(); err != nil {
			return err
		}
	}
	return nil
}

func (q *quota) read(l *Listing) error {
	number := l.fs.sb.quotaInode(q.kind)
	in, err := l.fs.Inode(number)
	if err != nil {
		return err
	}
	if f := l.inode[number]; f == nil || !in.IsRegular() || in.has(flInlineData) {
		// Needed: the kernel reads the usage from a regular file, and signing has to bring it up to date there.
		return incurable("inode %d is not a regular file in use", number)
	}
	if q.file, err = l.fs.Contents(in); err != nil {
		return err
	}
	q.dquots, err = readQuota(q.file, in.Size, q.kind.magic)
	return err
}

// compare finds the first owner for whom record and count differ. Whoever has
// no record has nothing.
func (q *quota) compare() error {
	first, found := uint32(0), false
	differs := func(id uint32) {
		if q.counted[id] != q.dquots[id].usage && (!found || id < first) {
			first, found = id, true
		}
	}
	for id := range q.counted {
		differs(id)
	}
	for id := range q.dquots {
		differs(id)
	}
	if !found {
		return nil
	}
	record, count := q.dquots[first], q.counted[first]
	return damaged("file of %s quotas records %d bytes in %d inodes for %s %d, but there are %d in %d",
		q.kind.name, record.space, record.inodes, q.kind.name, first, count.space, count.inodes)
}

// quotaRecords are the blocks of quota files with the owners who get new blocks,
// in ascending order. A block that is copied because it was shared was paid for
// by all who share it.
func (t *Transaction) quotaRecords() iter.Seq2[write, error] {
	fields := map[uint64]map[uint64]uint64{} // block, offset of dqb_curspace in it, value
	for _, q := range t.e.l.quotas {
		more := map[uint32]uint64{}
		for _, c := range t.p.changes {
			if c.from == 0 && c.to != 0 {
				more[q.kind.id(c.inode)] += t.fs().sb.clusterSize()
			}
		}
		for id, n := range more {
			d := q.dquots[id]
			block, off := q.file.place(d.off + dqOffSpace)
			if fields[block] == nil {
				fields[block] = map[uint64]uint64{}
			}
			fields[block][off] = d.space + n
		}
	}
	return func(yield func(write, error) bool) {
		for _, block := range slices.Sorted(maps.Keys(fields)) {
			b, err := t.fs().readBlock(block)
			for off, v := range fields[block] {
				le.PutUint64(b[off:], v)
			}
			if !yield(write{t.offset(block), b}, err) || err != nil {
				return
			}
		}
	}
}

// place is the block that has the byte at off of a file, which is not in a hole,
// and where in the block it is.
func (c *Contents) place(off int64) (block, at uint64) {
	bs := c.fs.sb.blockSize
	logical := uint64(off) / bs
	r := c.runs[sort.Search(len(c.runs), func(i int) bool { return c.runs[i].logical+c.runs[i].count > logical })]
	return r.physical + logical - r.logical, uint64(off) % bs
}
