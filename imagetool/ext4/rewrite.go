package ext4

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// What the 32 bits of seconds and 2 bits of epoch of an inode can hold
// (ext4_encode_extra_time).
const (
	minTime = math.MinInt32
	maxTime = math.MaxInt32 + 3<<32
)

// check finds out beforehand what could keep rewrite from succeeding.
func (c *change) check(fs *FS, now *time.Time) error {
	in := *c.inode
	in.raw = bytes.Clone(in.raw)
	if c.fresh && c.from == 0 {
		if err := fs.addBlock(&in); err != nil {
			return err
		}
	}
	if now != nil {
		return fs.touch(&in, *now)
	}
	return nil
}

// rewrite brings the inode's own bytes to the state after the change.
func (c *change) rewrite(fs *FS, in *Inode, now *time.Time) error {
	if err := c.newBody(in); err != nil {
		return err
	}
	if c.from == 0 && c.to != 0 {
		if err := fs.addBlock(in); err != nil {
			return err
		}
	}
	le.PutUint32(in.raw[inFileACLLo:], uint32(c.to))
	if fs.sb.has(incompat, incompat64Bit) {
		le.PutUint16(in.raw[inFileACLHi:], uint16(c.to>>32))
	}
	if now != nil {
		if err := fs.touch(in, *now); err != nil {
			return err
		}
	}
	fs.sealInode(in)
	return nil
}

// sealInode sets the checksum.
func (fs *FS) sealInode(in *Inode) {
	if !fs.sb.metadataCsum() {
		return
	}
	sum := in.checksum()
	le.PutUint16(in.raw[inChecksumLo:], uint16(sum))
	if in.hasChecksumHi() {
		le.PutUint16(in.raw[inChecksumHi:], uint16(sum>>16))
	}
}

// addBlock counts an attribute block, that is, one cluster more in i_blocks (ext4_inode_blocks_set).
func (fs *FS) addBlock(in *Inode) error {
	n := uint64(le.Uint32(in.raw[inBlocksLo:]))
	limit := uint64(math.MaxUint32)
	if fs.sb.has(roCompat, roHugeFile) {
		n |= uint64(le.Uint16(in.raw[inBlocksHi:])) << 32
		limit = 1<<48 - 1
	}
	if in.has(flHugeFile) && fs.sb.has(roCompat, roHugeFile) {
		n += fs.sb.clusterBlocks()
	} else {
		n += fs.sb.clusterSize() / 512
	}
	if n > limit {
		return fmt.Errorf("inode %d: i_blocks has no room for one block more", in.Number)
	}
	le.PutUint32(in.raw[inBlocksLo:], uint32(n))
	if fs.sb.has(roCompat, roHugeFile) {
		le.PutUint16(in.raw[inBlocksHi:], uint16(n>>32))
	}
	return nil
}

// touch sets ctime and raises i_version, as a change of an attribute does. Hurd keeps the
// block of a translator there.
func (fs *FS) touch(in *Inode, now time.Time) error {
	sec := now.Unix()
	if !in.hasField(inCtimeExtra) && sec != int64(int32(sec)) {
		return fmt.Errorf("inode %d has no room for a ctime of %v", in.Number, now)
	}
	le.PutUint32(in.raw[inCtime:], uint32(sec))
	if in.hasField(inCtimeExtra) {
		epoch := uint32((sec-int64(int32(sec)))>>32) & 3
		le.PutUint32(in.raw[inCtimeExtra:], epoch|uint32(now.Nanosecond())<<2)
	}
	if fs.sb.isHurd() {
		return nil
	}
	version := uint64(le.Uint32(in.raw[inVersionLo:]))
	if in.hasField(inVersionHi) {
		version |= uint64(le.Uint32(in.raw[inVersionHi:])) << 32
	}
	version++
	le.PutUint32(in.raw[inVersionLo:], uint32(version))
	if in.hasField(inVersionHi) {
		le.PutUint32(in.raw[inVersionHi:], uint32(version>>32))
	}
	return nil
}
