package disk

// rareContents are looked for only where there is nothing of contents. So that a few
// bytes in common keep nobody from signing, they never stand beside something else. What
// has a name here is not taken for the code of a boot loader.
var rareContents = []magic{
	{"bcache", 4<<10 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}, // bcache_magic, in sector SB_SECTOR
	{"bcachefs", 4<<10 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"DM_integrity", 0, "integrt\x00"},                   // SB_MAGIC of drivers/md/dm-integrity.c
	{"reiserfs", 64<<10 + 52, "ReIsErFs"},                // REISERFS_SUPER_MAGIC_STRING
	{"reiserfs", 64<<10 + 52, "ReIsEr2Fs"},               // REISER2FS_SUPER_MAGIC_STRING
	{"reiserfs", 64<<10 + 52, "ReIsEr3Fs"},               // REISER2FS_JR_SUPER_MAGIC_STRING
	{"reiserfs", 8<<10 + 52, "ReIsErFs"},                 // likewise, at REISERFS_OLD_DISK_OFFSET
	{"reiser4", 64 << 10, "ReIsEr4"},                     //
	{"jfs", 32 << 10, "JFS1"},                            // JFS_MAGIC
	{"gfs2", 64 << 10, "\x01\x16\x19\x70"},               // GFS2_MAGIC
	{"udf", 32<<10 + 1, "BEA01"},                         // ECMA-167, 9.1
	{"ufs", 8<<10 + 1372, "\x54\x19\x01\x00"},            // UFS_MAGIC
	{"ufs", 64<<10 + 1372, "\x19\x01\x54\x19"},           // UFS2_MAGIC
	{"nilfs2", 1024, "\x02\x00\x00\x00\x00\x00\x34\x34"}, // NILFS_CURRENT_REV and NILFS_SUPER_MAGIC
	{"hfsplus", 1024, "H+\x00\x04"},                      // HFSPLUS_VOLHEAD_SIG and the version
	{"hfsplus", 1024, "HX\x00\x05"},                      // HFSPLUS_VOLHEAD_SIGX
	// Two bytes are few: the fields before them, or behind, are what mkfs.minix writes.
	{"minix", 1024 + 10, "\x00\x00\x00\x1c\x08\x10\x7f\x13"}, // s_log_zone_size, s_max_size, MINIX_SUPER_MAGIC
	{"minix", 1024 + 10, "\x00\x00\x00\x1c\x08\x10\x8f\x13"}, // MINIX_SUPER_MAGIC2
	{"minix", 1024 + 10, "\x00\x00\xff\xff\xff\x7f\x68\x24"}, // MINIX2_SUPER_MAGIC
	{"minix", 1024 + 10, "\x00\x00\xff\xff\xff\x7f\x78\x24"}, // MINIX2_SUPER_MAGIC2
	{"minix", 1024 + 24, "\x5a\x4d\x00\x00"},                 // MINIX3_SUPER_MAGIC, s_pad2
}
