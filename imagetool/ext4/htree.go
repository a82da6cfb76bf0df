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
	dxMaxVersion  = 5 // DX_HASH_TEA_UNSIGNED
)

// Roles of a directory's blocks; zero means: not in the tree.
const (
	roleLeaf byte = iota + 1
	roleNode
)

// readIndex walks the hash tree of a directory and says which block plays which
// role; nil without a tree. The kernel lists the leaves of the tree, a linear
// read all blocks: both must give the same, so each block must be in the tree
// exactly once.
func (d *dirReader) readIndex(c *Contents, count uint64) ([]byte, error) {
	if !d.in.has(flIndex) {
		return nil, nil
	}
	if !d.fs.sb.has(compat, compatDirIndex) {
		return nil, damaged("has a hash tree, but the file system lacks the feature")
	}
	t := &dxTree{d: d, c: c, roles: make([]byte, count)}
	if err := t.root(); err != nil {
		return nil, fmt.Errorf("hash tree: %w", err)
	}
	if i := slices.Index(t.roles, 0); i >= 0 {
		return nil, damaged("hash tree does not lead to block %d", i)
	}
	return t.roles, nil
}

type dxTree struct {
	d     *dirReader
	c     *Contents
	roles []byte
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
	if le.Uint16(b[deOffRecLen:]) != deMinLen || info[dxOffInfoLen] != dxInfoLength || info[dxOffVersion] > dxMaxVersion ||
		info[dxOffFlags]&1 != 0 || levels >= most {
		return damaged("root is not one that is known")
	}
	t.roles[0] = roleNode
	if err := t.entries(b, dxRootEntries, levels); err != nil {
		return err
	}
	t.roles[0] = roleLeaf // holds "." and ".."
	return nil
}

// entries follows the references of one node; levels more lie below it.
func (t *dxTree) entries(b []byte, at, levels int) error {
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
	var before uint32
	for i := range count {
		// The first entry's hash is where limit and count stand.
		if hash := le.Uint32(b[at+dxEntrySize*i:]); i > 0 {
			if hash < before {
				return damaged("hashes of a node are out of order")
			}
			before = hash
		}
		block := uint64(le.Uint32(b[at+dxEntrySize*i+4:]) & dxBlockMask)
		if block >= uint64(len(t.roles)) || t.roles[block] != 0 {
			return damaged("node refers to block %d, which does not exist or is used twice", block)
		}
		if levels == 0 {
			t.roles[block] = roleLeaf
			continue
		}
		t.roles[block] = roleNode
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
	return t.entries(b, dxNodeEntries, levels)
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
