package ext4

import (
	"fmt"
	"slices"
)

// inoBootLoader is EXT4_BOOT_LOADER_INO (fs/ext4/ext4.h), which an ioctl swaps
// with any file.
const inoBootLoader = 5

// checkReserved holds the inodes that have a meaning of their own to it, and
// those that have none to having nothing (e2fsck_pass1).
func (fs *FS) checkReserved(in *Inode) error {
	sb := fs.sb
	if err := fs.checkDtime(in.Number, in.raw); err != nil {
		return err
	}
	switch {
	case in.Number == inoBad:
		if in.Mode != 0 || in.UID != 0 || in.GID != 0 || in.Links != 0 || in.has(flInlineData) || in.acl != 0 {
			return damaged("inode %d lists bad blocks, but has more than these", in.Number)
		}
	case in.Number == inoJournal && sb.has(compat, compatHasJournal),
		in.Number == inoBootLoader && !in.IsDir(), sb.namesQuota(in.Number):
	case in.Number == inoResize && sb.has(compat, compatResizeInode):
		return fs.checkResize(in)
	case in.Number == inoResize && in.IsRegular() && in.acl == 0 && in.units == 0 && isZero(in.iBlock()):
		// When it is spent, the kernel turns to meta_bg and leaves an empty file (ext4_convert_meta_bg).
	case in.Mode != 0 || in.Links != 0 || in.acl != 0 || in.units != 0 || !isZero(in.iBlock()):
		return damaged("reserved inode %d is in use for something unknown", in.Number)
	}
	return nil
}

// namesQuota reports whether an inode is one of the quota files.
func (sb *superblock) namesQuota(number uint32) bool {
	return slices.ContainsFunc(quotaKinds, func(k quotaKind) bool { return sb.u32(k.field) == number })
}

// checkResize holds the resize inode to what the kernel wants to find in it: the
// blocks reserved for descriptors, and below each its backups (verify_reserved_gdb in
// fs/ext4/resize.c).
func (fs *FS) checkResize(in *Inode) error {
	if !in.IsRegular() || in.Links != 1 || in.has(flExtents) || in.has(flInlineData) || in.acl != 0 {
		return damaged("resize inode %d is not one that is known", in.Number)
	}
	const double = directBlocks + 1 // EXT4_DIND_BLOCK
	pointers := in.iBlock()
	block := uint64(le.Uint32(pointers[4*double:]))
	for i := range inBlockCount {
		if i != double && le.Uint32(pointers[4*i:]) != 0 {
			return damaged("resize inode %d has blocks where there should be none", in.Number)
		}
	}
	per := fs.sb.blockSize / 4
	want := make([]uint64, per)
	first := fs.sb.descBlock(0) + fs.sb.descBlocks()
	for i := range fs.sb.reservedGDT {
		want[(fs.sb.descBlocks()+i)%per] = first + i
	}
	if err := fs.checkPointers(block, want); err != nil {
		return fmt.Errorf("resize inode: %w", err)
	}
	for i := range fs.sb.reservedGDT {
		if err := fs.checkPointers(first+i, fs.backups(first+i)); err != nil {
			return fmt.Errorf("resize inode: %w", err)
		}
	}
	return nil
}

// backups is where the other groups that have descriptors have this block of them.
func (fs *FS) backups(block uint64) (out []uint64) {
	for g := uint64(1); g < fs.sb.groups; g++ {
		if fs.sb.hasSuper(g) {
			out = append(out, block+g*fs.sb.blocksPerGroup)
		}
	}
	return out
}

// checkPointers compares a block of pointers with what it should have; the rest
// is zero.
func (fs *FS) checkPointers(block uint64, want []uint64) error {
	b, err := fs.readBlock(block)
	if err != nil {
		return err
	}
	for i := range len(b) / 4 {
		var w uint64
		if i < len(want) {
			w = want[i]
		}
		if got := uint64(le.Uint32(b[4*i:])); got != w {
			return damaged("block %d, entry %d: is %d, expected %d", block, i, got, w)
		}
	}
	if len(want) > len(b)/4 {
		return damaged("block %d: there are more backups than fit", block)
	}
	return nil
}
