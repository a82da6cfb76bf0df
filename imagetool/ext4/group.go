package ext4

import (
	"fmt"
)

// group is the decoded struct ext4_group_desc.
type group struct {
	number                               uint64
	blockBitmap, inodeBitmap, inodeTable uint64 // block numbers
	freeClusters, freeInodes, usedDirs   uint64
	itableUnused                         uint64 // inodes at the end of the table that were never used
	flags                                uint16
	blockBitmapSum, inodeBitmapSum       uint32
}

// isSparsePower reports whether group g is a power of 3, 5 or 7 (ext4_bg_has_super).
func isSparsePower(g uint64) bool {
	for _, p := range []uint64{3, 5, 7} {
		n := p
		for n < g {
			n *= p
		}
		if n == g {
			return true
		}
	}
	return false
}

// hasSuper reports whether group g starts with a copy of the superblock.
func (sb *superblock) hasSuper(g uint64) bool {
	switch {
	case g == 0:
		return true
	case sb.has(compat, compatSparseSuper2):
		for i := range superBackupsPerList {
			if g == uint64(sb.u32(sbBackupBGs+4*i)) {
				return true
			}
		}
		return false
	case g == 1 || !sb.has(roCompat, roSparseSuper):
		return true
	}
	return isSparsePower(g)
}

func (sb *superblock) groupStart(g uint64) uint64 { return sb.firstData + g*sb.blocksPerGroup }
func (sb *superblock) groupEnd(g uint64) uint64   { return min(sb.groupStart(g+1), sb.blocks) }
func (sb *superblock) groupOf(block uint64) uint64 {
	return (block - sb.firstData) / sb.blocksPerGroup
}

// inMetaBG says whether group g keeps its descriptors in its own meta group.
func (sb *superblock) inMetaBG(g uint64) bool {
	return sb.has(incompat, incompatMetaBG) && g >= sb.firstMetaBG*sb.descsPerBlock()
}

// superBlock is where group g's copy of the superblock lies, if it has one: at
// its start, but the first one always at superOffset. With clusters and blocks of
// 1 KiB, that is block 1 of a group that starts with block 0.
func (sb *superblock) superBlock(g uint64) uint64 {
	if g == 0 {
		return superOffset / sb.blockSize
	}
	return sb.groupStart(g)
}

// descBlock is where block i of the group descriptors lies (descriptor_loc in
// fs/ext4/super.c).
func (sb *superblock) descBlock(i uint64) uint64 {
	if !sb.has(incompat, incompatMetaBG) || i < sb.firstMetaBG {
		return sb.superBlock(0) + 1 + i
	}
	g := i * sb.descsPerBlock()
	b := sb.superBlock(g)
	if sb.hasSuper(g) {
		b++
	}
	return b
}

// baseBlocks is how many blocks at the start of group g hold the superblock and
// group descriptors, and how many behind those are reserved for more
// descriptors (ext4_bg_num_gdb, ext4_num_base_meta_clusters).
func (sb *superblock) baseBlocks(g uint64) (used, reserved uint64) {
	if sb.hasSuper(g) {
		used = sb.superBlock(g) + 1 - sb.groupStart(g)
	}
	if sb.inMetaBG(g) {
		if per := sb.descsPerBlock(); g%per == 0 || g%per == 1 || g%per == per-1 {
			used++
		}
		return used, 0
	}
	if used == 0 {
		return 0, 0
	}
	if sb.has(incompat, incompatMetaBG) {
		return used + sb.firstMetaBG, sb.reservedGDT
	}
	return used + sb.descBlocks(), sb.reservedGDT
}

// A span is a stretch of blocks.
type span struct{ block, count uint64 }

// metadata is what belongs to group d and to no inode, wherever it lies.
func (sb *superblock) metadata(d *group) [4]span {
	used, reserved := sb.baseBlocks(d.number)
	return [4]span{
		{sb.groupStart(d.number), used + reserved}, {d.blockBitmap, 1}, {d.inodeBitmap, 1}, {d.inodeTable, sb.itableBlocks()},
	}
}

// itableBlocks is the length of each group's inode table.
func (sb *superblock) itableBlocks() uint64 {
	return sb.inodesPerGroup * sb.inodeSize / sb.blockSize
}

// readDescriptors reads all group descriptors and checks their checksums and
// that what they point to lies inside the file system.
func (fs *FS) readDescriptors() error {
	per := fs.sb.descsPerBlock()
	for i := range fs.sb.descBlocks() {
		b, err := fs.readBlock(fs.sb.descBlock(i))
		if err != nil {
			return fmt.Errorf("reading block %d of the group descriptors: %w", i, err)
		}
		for g := i * per; g < min((i+1)*per, fs.sb.groups); g++ {
			if err := fs.addGroup(g, b[g%per*fs.sb.descSize:][:fs.sb.descSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (fs *FS) addGroup(g uint64, raw []byte) error {
	if fs.sb.groupCsum() {
		if got, want := le.Uint16(raw[gdChecksum:]), fs.sb.descChecksum(g, raw); got != want {
			return damaged("group descriptor %d: checksum is %#04x, computed %#04x", g, got, want)
		}
	} else if le.Uint16(raw[gdFlags:])&(bgInodeUninit|bgBlockUninit) != 0 {
		return damaged("group descriptor %d: says that bitmaps were never written, which takes checksums", g)
	}
	d := fs.sb.decodeGroup(g, raw)
	fs.groups = append(fs.groups, d)
	return fs.checkGroup(&d)
}

func (sb *superblock) decodeGroup(number uint64, raw []byte) group {
	u16 := func(lo, hi int) uint64 {
		v := uint64(le.Uint16(raw[lo:]))
		if sb.descSize >= gdSize64 {
			v |= uint64(le.Uint16(raw[hi:])) << 16
		}
		return v
	}
	u32 := func(lo, hi int) uint64 {
		v := uint64(le.Uint32(raw[lo:]))
		if sb.descSize >= gdSize64 {
			v |= uint64(le.Uint32(raw[hi:])) << 32
		}
		return v
	}
	d := group{
		number:         number,
		blockBitmap:    u32(gdBlockBitmapLo, gdBlockBitmapHi),
		inodeBitmap:    u32(gdInodeBitmapLo, gdInodeBitmapHi),
		inodeTable:     u32(gdInodeTableLo, gdInodeTableHi),
		freeClusters:   u16(gdFreeBlocksLo, gdFreeBlocksHi),
		freeInodes:     u16(gdFreeInodesLo, gdFreeInodesHi),
		usedDirs:       u16(gdUsedDirsLo, gdUsedDirsHi),
		blockBitmapSum: uint32(u16(gdBlockBitmapSumLo, gdBlockBitmapSumHi)),
		inodeBitmapSum: uint32(u16(gdInodeBitmapSumLo, gdInodeBitmapSumHi)),
	}
	if sb.groupCsum() { // without it the kernel ignores these two
		d.flags = le.Uint16(raw[gdFlags:])
		d.itableUnused = u16(gdItableUnusedLo, gdItableUnusedHi)
	}
	return d
}

// descChecksum is bg_checksum (ext4_group_desc_csum): CRC-32C cut to 16 bits
// with metadata_csum, else CRC-16.
func (sb *superblock) descChecksum(g uint64, raw []byte) uint16 {
	var number [4]byte
	le.PutUint32(number[:], uint32(g))
	before, after := raw[:gdChecksum], raw[gdChecksum+2:]
	if sb.metadataCsum() {
		crc := crc32c(crc32c(sb.seed, number[:]), before)
		return uint16(crc32c(crc32c(crc, []byte{0, 0}), after))
	}
	crc := crc16(crc16(^uint16(0), sb.raw[sbUUID:sbUUID+16]), number[:])
	return crc16(crc16(crc, before), after)
}

func (fs *FS) checkGroup(d *group) error {
	last := d.inodeTable + fs.sb.itableBlocks() - 1
	for _, b := range []uint64{d.blockBitmap, d.inodeBitmap, d.inodeTable, last} {
		if !fs.sb.holds(b) {
			return damaged("group descriptor %d: block %d is outside the file system", d.number, b)
		}
		if !fs.sb.has(incompat, incompatFlexBG) && fs.sb.groupOf(b) != d.number {
			return damaged("group descriptor %d: block %d lies in another group, but the feature flex_bg is missing", d.number, b)
		}
	}
	if d.freeClusters > fs.sb.groupClusters(d.number) || d.freeInodes > fs.sb.inodesPerGroup || d.itableUnused > fs.sb.inodesPerGroup ||
		d.usedDirs > fs.sb.inodesPerGroup {
		return damaged("group descriptor %d: counts exceed the size of the group", d.number)
	}
	return nil
}

// holds reports whether block may be referred to at all.
func (sb *superblock) holds(block uint64) bool {
	return block >= sb.firstData && block < sb.blocks
}

// bitmapChecksum is the low 16 or all 32 bits of CRC-32C over the used part of
// a bitmap (ext4_block_bitmap_csum_set, ext4_inode_bitmap_csum_set).
func (sb *superblock) bitmapChecksum(bitmap []byte, bits uint64) uint32 {
	crc := crc32c(sb.seed, bitmap[:bits/8])
	if sb.descSize < gdSize64 {
		crc &= 0xffff
	}
	return crc
}

// blockBitmap returns the block bitmap of a group that is not BLOCK_UNINIT.
func (fs *FS) blockBitmap(d *group) ([]byte, error) {
	b, err := fs.readBlock(d.blockBitmap)
	if err != nil {
		return nil, fmt.Errorf("reading block bitmap of group %d: %w", d.number, err)
	}
	if fs.sb.metadataCsum() {
		if want := fs.sb.bitmapChecksum(b, fs.sb.clustersPerGroup); want != d.blockBitmapSum {
			return nil, damaged("block bitmap of group %d: checksum is %#x, computed %#x", d.number, d.blockBitmapSum, want)
		}
	}
	return b, nil
}

// inodeBitmap returns the inode bitmap of a group that is not INODE_UNINIT.
func (fs *FS) inodeBitmap(d *group) ([]byte, error) {
	b, err := fs.readBlock(d.inodeBitmap)
	if err != nil {
		return nil, fmt.Errorf("reading inode bitmap of group %d: %w", d.number, err)
	}
	if fs.sb.metadataCsum() {
		if want := fs.sb.bitmapChecksum(b, fs.sb.inodesPerGroup); want != d.inodeBitmapSum {
			return nil, damaged("inode bitmap of group %d: checksum is %#x, computed %#x", d.number, d.inodeBitmapSum, want)
		}
	}
	return b, nil
}
