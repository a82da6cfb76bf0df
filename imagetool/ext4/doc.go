// Package ext4 reads ext2, ext3 and ext4 file systems offline, exactly as the
// Linux kernel would, and writes security.ima values into their inodes in bulk.
//
// It needs no privilege, mounts nothing and trusts nothing: every checksum that
// it passes is verified, and what it does not understand it refuses. The work
// goes one way:
//
//	Open   superblock, features, whether others use it, group descriptors, journal
//	Check  one pass over all inodes and directories: the block map, the
//	       reference counts, the names, the quotas; any disagreement is refused
//	Edit   stages values in memory, then commits them in an order in which each
//	       step only refers to what is already durable
//
// A FS never changes after Open and may be used by several goroutines at once.
// An Edit belongs to one goroutine.
//
// The formats are those of fs/ext4 and fs/jbd2 of the Linux kernel (struct
// ext4_super_block, ext4_group_desc, ext4_inode, ext4_extent_header,
// ext4_dir_entry_2, ext4_xattr_header, mmp_struct, journal_superblock_s) and of
// fs/quota (v2_disk_dqheader, v2r1_disk_dqblk), the consistency rules those of
// e2fsck. The package relies on the standard library only.
package ext4
