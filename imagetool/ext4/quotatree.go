package ext4

import (
	"fmt"
	"io"
)

// struct v2_disk_dqheader and v2_disk_dqinfo (fs/quota/quotaio_v2.h), struct
// qt_disk_dqdbheader (fs/quota/quota_tree.h) and struct v2r1_disk_dqblk
// (fs/quota/quotaio_v2.h). A quota file consists of blocks of 1 KiB, whatever
// the block size of the file system.
const (
	qtBlockSize = 1024 // 1 << V2_DQBLKSIZE_BITS
	qtRoot      = 1    // QT_TREEOFF
	qtDepth     = 4    // qtree_depth: 8 bits of the id each
	qtRefs      = qtBlockSize / 4
	qtVersion   = 1       // of a file whose records are v2r1
	qtMaxSize   = 1 << 31 // as e2fsck has it (v2_init_io)

	qtOffVersion   = 4 // within the file
	qtOffBlocks    = 20
	qtOffFreeBlock = 24
	qtOffFreeEntry = 28
	qtHeader       = 32

	qtLeafHeader = 16 // struct qt_disk_dqdbheader
	dqSize       = 72 // struct v2r1_disk_dqblk
	dqOffInodes  = 24 // dqb_curinodes
	dqOffSpace   = 48 // dqb_curspace
)

// A usage is what belongs to one owner.
type usage struct {
	space  uint64 // bytes on disk
	inodes uint64
}

// A dquot is what a quota file says of one owner.
type dquot struct {
	usage
	off    int64 // of its record in the file
	linked bool  // the tree leads to it
}

// quotaTree reads a quota file: a tree of references, indexed by the bytes of
// the id from the highest on, whose leaves hold records in any order.
type quotaTree struct {
	r      io.ReaderAt
	blocks uint32
	kind   []byte // of each block: 0 not seen yet, then nodeSeen or leafSeen
	dquots map[uint32]dquot
}

const (
	nodeSeen = 1
	leafSeen = 2
)

// readQuota reads all records of a quota file. Every block is read only once, so
// that no tree keeps it busy for longer than the file is long.
//
// Needed: signing charges new blocks in these records, and must find the same ones as the
// kernel, which sets quotas up anew from what it finds.
func readQuota(r io.ReaderAt, size int64, magic uint32) (map[uint32]dquot, error) {
	if size < (qtRoot+1)*qtBlockSize || size > qtMaxSize {
		return nil, incurable("size %d is impossible", size)
	}
	head := make([]byte, qtHeader)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, err
	}
	t := &quotaTree{r: r, blocks: le.Uint32(head[qtOffBlocks:]), dquots: map[uint32]dquot{}}
	if le.Uint32(head) != magic {
		return nil, incurable("magic number is %#08x, expected %#08x", le.Uint32(head), magic)
	}
	if v := le.Uint32(head[qtOffVersion:]); v != qtVersion {
		return nil, refuse("", "format version %d is not supported", v)
	}
	if t.blocks <= qtRoot || int64(t.blocks) > size/qtBlockSize {
		return nil, damaged("dqi_blocks is %d, but it has %d bytes", t.blocks, size)
	}
	for _, off := range []int{qtOffFreeBlock, qtOffFreeEntry} { // v2_read_file_info
		if n := le.Uint32(head[off:]); n == qtRoot || n >= t.blocks {
			return nil, damaged("list of free blocks begins at block %d of %d", n, t.blocks)
		}
	}
	t.kind = make([]byte, t.blocks)
	if err := t.node(qtRoot, 0, 0); err != nil {
		return nil, err
	}
	for id, d := range t.dquots {
		if !d.linked {
			return nil, incurable("the tree does not lead to the record at offset %d, of id %d", d.off, id)
		}
	}
	return t.dquots, nil
}

// node walks the references of a block at this depth, which share the upper
// bytes of their ids.
//
// Needed: see readQuota.
func (t *quotaTree) node(block uint32, depth int, upper uint32) error {
	if t.kind[block] != 0 {
		return incurable("the tree leads to block %d twice", block)
	}
	t.kind[block] = nodeSeen
	b, err := t.read(block)
	if err != nil {
		return err
	}
	for i := range uint32(qtRefs) {
		next, id := le.Uint32(b[4*i:]), upper<<8|i
		switch {
		case next == 0:
			continue
		case next <= qtRoot || next >= t.blocks:
			return damaged("the tree leads to block %d of %d", next, t.blocks)
		case depth < qtDepth-1:
			err = t.node(next, depth+1, id)
		default:
			err = t.link(next, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link follows the reference to an id's record.
//
// Needed: see readQuota.
func (t *quotaTree) link(block, id uint32) error {
	switch t.kind[block] {
	case nodeSeen:
		return incurable("block %d is both a node and a leaf of the tree", block)
	case 0:
		if err := t.leaf(block); err != nil {
			return err
		}
	}
	d, ok := t.dquots[id]
	if !ok || d.off/qtBlockSize != int64(block) || d.linked {
		return incurable("the tree leads to block %d for id %d, which is not there", block, id)
	}
	d.linked = true
	t.dquots[id] = d
	return nil
}

// leaf takes the records of a block. One that is zero throughout is free
// (qtree_entry_unused).
func (t *quotaTree) leaf(block uint32) error {
	t.kind[block] = leafSeen
	b, err := t.read(block)
	if err != nil {
		return err
	}
	for at := qtLeafHeader; at+dqSize <= qtBlockSize; at += dqSize {
		raw := b[at : at+dqSize]
		if isZero(raw) {
			continue
		}
		id := le.Uint32(raw)
		if _, ok := t.dquots[id]; ok {
			return damaged("id %d has two records", id)
		}
		t.dquots[id] = dquot{
			usage: usage{space: le.Uint64(raw[dqOffSpace:]), inodes: le.Uint64(raw[dqOffInodes:])},
			off:   int64(block)*qtBlockSize + int64(at),
		}
	}
	return nil
}

func (t *quotaTree) read(block uint32) ([]byte, error) {
	b := make([]byte, qtBlockSize)
	if n, err := t.r.ReadAt(b, int64(block)*qtBlockSize); n < len(b) {
		return nil, fmt.Errorf("reading block %d: %w", block, err)
	}
	return b, nil
}
