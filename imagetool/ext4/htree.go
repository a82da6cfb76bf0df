package ext4

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// struct dx_root_info, dx_countlimit, dx_entry and dx_tail (fs/ext4/namei.c).
const (
	dxRootInfo    = 24 // behind the entries "." and ".."
	dxInfoLength  = 8
	dxRootEntries = dxRootInfo + dxInfoLength
	dxNodeEntries = deHeader
	dxEntrySize   = 8
	dxTailSize    = 8
	dxBlockMask   = 0x0fffffff
	dxLevels      = 2 // ext4_dir_htree_level without large_dir
	dxLevelsLarge = 3
	dxOffVersion  = 4 // within dx_root_info
	dxOffInfoLen  = 5
	dxOffLevels   = 6
	dxOffFlags    = 7
	dxMaxVersion  = 2 // DX_HASH_TEA: whether characters are signed stands in the superblock
)

// Roles of a directory's blocks; zero means: not in the tree.
const (
	roleLeaf byte = iota + 1
	roleNode
)

// A dxBlock is what the tree says of one block: its role and, for a leaf, the
// hashes of the names in it.
type dxBlock struct {
	role     byte
	from, to uint64 // to is not among them
}

// readIndex walks the hash tree of a directory; nil without a tree. The kernel
// lists the leaves of the tree, a linear read all blocks: both must give the
// same, so each block must be in the tree exactly once.
func (d *dirReader) readIndex(c *Contents, count uint64) (*dxTree, error) {
	if !d.in.has(flIndex) {
		return nil, nil
	}
	if !d.fs.sb.has(compat, compatDirIndex) {
		return nil, damaged("has a hash tree, but the file system lacks the feature")
	}
	t := &dxTree{d: d, c: c, blocks: make([]dxBlock, count)}
	if err := t.root(); err != nil {
		return nil, fmt.Errorf("hash tree: %w", err)
	}
	if i := slices.IndexFunc(t.blocks, func(b dxBlock) bool { return b.role == 0 }); i >= 0 {
		return nil, damaged("hash tree does not lead to block %d", i)
	}
	return t, nil
}

type dxTree struct {
	d      *dirReader
	c      *Contents
	hash   dirHash
	blocks []dxBlock
}

// holds reports whether the kernel, looking for a name, would come to this leaf.
// An odd hash at its end says that names with the hash below it go on behind it
// (dx_probe, ext4_htree_next_block).
func (t *dxTree) holds(leaf uint64, name string) bool {
	b, h := t.blocks[leaf], uint64(t.hash.of(name))
	return h >= b.from&^1 && h < b.to
}

func (t *dxTree) root() error {
	b := make([]byte, t.d.fs.sb.blockSize)
	if _, err := t.c.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	info := b[dxRootInfo:]
	levels, most := int(info[dxOffLevels]), dxLevels
	if t.d.fs.sb.has(incompat, incompatLargeDir) {
		most = dxLevelsLarge
	}
	if le.Uint16(b[deOffRecLen:]) != deMinLen || le.Uint32(info) != 0 || info[dxOffInfoLen] != dxInfoLength || info[dxOffVersion] > dxMaxVersion ||
		info[dxOffFlags]&1 != 0 || levels >= most {
		return damaged("root is not one that is known")
	}
	t.hash = t.d.fs.sb.newDirHash(info[dxOffVersion])
	t.blocks[0].role = roleNode
	if err := t.entries(b, dxRootEntries, levels, dxBlock{to: 1 << 32}); err != nil {
		return err
	}
	t.blocks[0].role = roleLeaf // holds "." and ".."
	return nil
}

// entries follows the references of one node, which divide its hashes among
// them; levels more lie below it.
func (t *dxTree) entries(b []byte, at, levels int, node dxBlock) error {
	tail := 0
	if t.d.fs.sb.metadataCsum() {
		tail = dxTailSize
	}
	limit, count := int(le.Uint16(b[at:])), int(le.Uint16(b[at+2:]))
	if want := (len(b) - at - tail) / dxEntrySize; limit != want || count == 0 || count > limit {
		return damaged("node has %d of %d entries, expected room for %d", count, limit, want)
	}
	if tail > 0 {
		if err := t.checksum(b, at, limit, count); err != nil {
			return err
		}
	}
	for i := range count {
		// The first entry's hash is where limit and count stand.
		child := dxBlock{roleLeaf, node.from, node.to}
		if i > 0 {
			child.from = uint64(le.Uint32(b[at+dxEntrySize*i:]))
		}
		if i+1 < count {
			child.to = uint64(le.Uint32(b[at+dxEntrySize*(i+1):]))
		}
		if child.from < node.from || child.to < child.from || child.to > node.to {
			return damaged("hashes of a node are out of order")
		}
		if levels > 0 {
			child.role = roleNode
		}
		block := uint64(le.Uint32(b[at+dxEntrySize*i+4:]) & dxBlockMask)
		if block >= uint64(len(t.blocks)) || t.blocks[block].role != 0 {
			return damaged("node refers to block %d, which does not exist or is used twice", block)
		}
		t.blocks[block] = child
		if levels == 0 {
			continue
		}
		if err := t.node(block, levels-1); err != nil {
			return err
		}
	}
	return nil
}

func (t *dxTree) node(block uint64, levels int) error {
	b := make([]byte, t.d.fs.sb.blockSize)
	if _, err := t.c.ReadAt(b, int64(block)*int64(len(b))); err != nil && err != io.EOF {
		return err
	}
	// A node poses as one unused entry that covers the block.
	if le.Uint32(b) != 0 || t.d.fs.recLen(le.Uint16(b[deOffRecLen:])) != len(b) || !bytes.Equal(b[deOffNameLen:deHeader], []byte{0, 0}) {
		return damaged("block %d is not a node", block)
	}
	return t.entries(b, dxNodeEntries, levels, t.blocks[block])
}

// checksum follows ext4_dx_csum: the entries in use, then the tail with its
// checksum as zero.
func (t *dxTree) checksum(b []byte, at, limit, count int) error {
	tail := b[at+limit*dxEntrySize:]
	crc := crc32c(t.d.in.seed, b[:at+count*dxEntrySize])
	crc = crc32c(crc, tail[:4])
	crc = crc32cUint32(crc, 0)
	if got := le.Uint32(tail[4:]); got != crc {
		return damaged("node checksum is %#08x, computed %#08x", got, crc)
	}
	return nil
}
