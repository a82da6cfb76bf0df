package ext4

import "slices"

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
	unused := in.Links == 0 && in.units == 0 && isZero(in.iBlock()[:4])
	switch {
	case in.Number == inoBad:
		if in.Mode != 0 || in.UID != 0 || in.GID != 0 || in.Links != 0 || in.has(flInlineData) || in.acl != 0 {
			return damaged("inode %d lists bad blocks, but has more than these", in.Number)
		}
	case in.Number == fs.journalInode(), sb.namesQuota(in.Number):
	case in.Number == inoJournal || in.Number == inoUserQuota || in.Number == inoGroupQuota:
		if !unused {
			return damaged("reserved inode %d is in use, but the file system does not name it", in.Number)
		}
	case in.Number == inoResize && sb.has(compat, compatResizeInode):
		return fs.checkResize(in)
	case in.Number == inoResize && !isZero(in.iBlock()):
		return damaged("resize inode %d has blocks, but the feature resize_inode is missing", in.Number)
	case in.Number == inoResize && in.IsRegular():
		// When it is spent, the kernel turns to meta_bg and leaves an empty file (ext4_convert_meta_bg).
	case in.Number == inoBootLoader && !in.IsDir():
	case in.Mode != 0:
		return damaged("reserved inode %d is in use for something unknown", in.Number)
	}
	return nil
}

// namesQuota reports whether an inode is one of the quota files.
func (sb *superblock) namesQuota(number uint32) bool {
	return slices.ContainsFunc(quotaKinds, func(k quotaKind) bool { return sb.quotaInode(k) == number })
}
