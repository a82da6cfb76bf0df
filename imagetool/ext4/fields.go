package ext4

// checkFields refuses what no kernel writes into an inode in use, and of which
// e2fsck would ask whether to mend it (e2fsck_pass1).
func (fs *FS) checkFields(in *Inode) error {
	sizeHi, aclHi := le.Uint32(in.raw[inSizeHi:]), le.Uint16(in.raw[inFileACLHi:])
	blocksHi := le.Uint16(in.raw[inBlocksHi:])
	switch {
	case le.Uint32(in.raw[inFaddr:]) != 0:
		return damaged("inode %d: i_faddr is not 0", in.Number)
	case sizeHi != 0 && !in.IsRegular() && !(in.IsDir() && fs.sb.has(incompat, incompatLargeDir)):
		return damaged("inode %d: i_size_high is not 0", in.Number)
	case aclHi != 0 && !fs.sb.has(incompat, incompat64Bit) && !fs.sb.isHurd(): // h_i_mode_high
		return damaged("inode %d: i_file_acl_high is not 0", in.Number)
	case blocksHi != 0 && (!fs.sb.has(roCompat, roHugeFile) || in.has(flHugeFile)):
		return damaged("inode %d: i_blocks_high is not 0", in.Number)
	case in.has(flIMagic):
		return damaged("inode %d has the flag imagic, and belongs to AFS", in.Number)
	case in.has(flIndex) && !in.IsDir():
		return damaged("inode %d: has a hash tree, but is no directory", in.Number)
	case len(in.raw) > goodOldInodeSize && in.extraSize() != 0 && in.extraSize() < inChecksumHi+2-goodOldInodeSize:
		return damaged("inode %d: i_extra_isize %d is out of range", in.Number, in.extraSize())
	case in.Size > maxSmallSize && in.IsRegular() && !fs.sb.has(roCompat, roLargeFile):
		return damaged("inode %d: size is %d, but the file system lacks the feature large_file", in.Number, in.Size)
	}
	return in.checkSpecial()
}

// maxSmallSize is what files have at most without large_file (ext4_max_size).
const maxSmallSize = 1<<31 - 1

// checkSpecial holds devices, FIFOs and sockets to having no contents.
func (in *Inode) checkSpecial() error {
	switch {
	case in.IsRegular() || in.IsDir() || in.IsSymlink() || in.Mode&modeType == 0:
		return nil
	case in.Size != 0:
		return damaged("inode %d: a %s cannot have a size", in.Number, typeName(in.Mode))
	case in.has(flExtents) || in.has(flInlineData):
		return damaged("inode %d: a %s cannot have contents", in.Number, typeName(in.Mode))
	}
	return nil
}

// checkLinkMap holds a symbolic link to one block, its first, or none at all if
// the target is short: for the kernel that goes by i_blocks, for e2fsck by the
// size (e2fsck_pass1_check_symlink).
func (fs *FS) checkLinkMap(in *Inode) error {
	if !in.IsSymlink() || in.has(flInlineData) {
		return nil
	}
	short, b := in.Size < inBlockSize, in.iBlock()
	switch {
	case short != fs.isFastSymlink(in) || short && in.has(flExtents):
	case short || !in.has(flExtents) && isZero(b[4:]):
		return nil
	case in.has(flExtents) && le.Uint16(b[exOffEntries:]) == 1 && le.Uint16(b[exOffDepth:]) == 0 &&
		le.Uint32(b[exEntrySize:]) == 0 && le.Uint16(b[exEntrySize+exOffLen:]) == 1:
		return nil
	}
	return damaged("inode %d: symbolic link of %d bytes does not have the blocks for it", in.Number, in.Size)
}

// checkFree holds an inode that is free to what deleting a file leaves
// (ext4_free_inode, e2fsck_pass1).
func (fs *FS) checkFree(number uint32, raw []byte) error {
	if isZero(raw) {
		return nil
	}
	if fs.sb.metadataCsum() {
		in := &Inode{Number: number, raw: raw, Generation: le.Uint32(raw[inGeneration:])}
		in.seed = crc32cUint32(crc32cUint32(fs.sb.seed, number), in.Generation)
		if in.extraSize() > len(raw)-goodOldInodeSize {
			return damaged("inode %d: i_extra_isize %d is out of range", number, in.extraSize())
		}
		if got, want := in.storedChecksum(), in.checksum(); got != want {
			return damaged("inode %d: checksum is %#x, computed %#x", number, got, want)
		}
	}
	if le.Uint32(raw[inDtime:]) == 0 && le.Uint16(raw[inMode:]) != 0 {
		return damaged("inode %d is free, but has no time of deletion", number)
	}
	return fs.checkDtime(number, raw)
}

// checkDtime refuses a small time of deletion: it would be the number of the next
// in the list of orphans.
func (fs *FS) checkDtime(number uint32, raw []byte) error {
	if dtime := le.Uint32(raw[inDtime:]); dtime != 0 && dtime < fs.sb.inodes && !fs.sb.madeLongAgo() {
		return refuse(hintRecover, "inode %d seems to be in a list of orphans", number)
	}
	return nil
}

// madeLongAgo reports whether the file system has times so small that a time of
// deletion may be one too: builds that can be repeated may set the clock to 0.
func (sb *superblock) madeLongAgo() bool {
	for _, off := range []int{sbMtime, sbWtime, sbMkfsTime} {
		if t := sb.u32(off); t != 0 && t < sb.inodes {
			return true
		}
	}
	return false
}
