package ext4

import "encoding/binary"

// Everything on disk is little-endian, except the journal (see journal.go).
var le = binary.LittleEndian

// Offsets into struct ext4_super_block (fs/ext4/ext4.h).
const (
	superOffset = 1024 // of the superblock from the start of the file system
	superSize   = 1024

	sbInodesCount      = 0x00
	sbBlocksCountLo    = 0x04
	sbReservedBlocksLo = 0x08
	sbFreeBlocksLo     = 0x0c
	sbFreeInodes       = 0x10
	sbFirstDataBlock   = 0x14
	sbLogBlockSize     = 0x18
	sbLogClusterSize   = 0x1c
	sbBlocksPerGroup   = 0x20
	sbClustersPerGroup = 0x24
	sbInodesPerGroup   = 0x28
	sbMtime            = 0x2c
	sbWtime            = 0x30
	sbMagic            = 0x38
	sbState            = 0x3a
	sbCreatorOS        = 0x48
	sbRevLevel         = 0x4c
	sbFirstIno         = 0x54
	sbInodeSize        = 0x58
	sbFeatureCompat    = 0x5c
	sbFeatureIncompat  = 0x60
	sbFeatureROCompat  = 0x64
	sbUUID             = 0x68
	sbVolumeName       = 0x78
	sbLastMounted      = 0x88
	sbPreallocDir      = 0xcd
	sbReservedGDT      = 0xce
	sbJournalUUID      = 0xd0
	sbJournalInum      = 0xe0
	sbHashSeed         = 0xec
	sbJournalDev       = 0xe4
	sbLastOrphan       = 0xe8
	sbDescSize         = 0xfe
	sbFirstMetaBG      = 0x104
	sbMkfsTime         = 0x108
	sbBlocksCountHi    = 0x150
	sbReservedBlocksHi = 0x154
	sbFreeBlocksHi     = 0x158
	sbLogGroupsPerFlex = 0x174
	sbChecksumType     = 0x175
	sbFlags            = 0x160
	sbMMPBlock         = 0x168
	sbUserQuotaInum    = 0x240
	sbGroupQuotaInum   = 0x244
	sbBackupBGs        = 0x24c
	sbProjectQuotaInum = 0x26c
	sbChecksumSeed     = 0x270
	sbOrphanFileInum   = 0x280
	sbChecksum         = 0x3fc
	superMagic         = 0xef53
	checksumTypeCRC32C = 1 // EXT4_CRC32C_CHKSUM

	stateValid = 0x1 // EXT4_VALID_FS
	stateError = 0x2 // EXT4_ERROR_FS

	osHurd     = 1 // EXT4_OS_HURD
	dynamicRev = 1 // EXT4_DYNAMIC_REV
)

// Offsets into struct ext4_group_desc (fs/ext4/ext4.h). The high halves exist
// in descriptors of 64 bytes and more.
const (
	gdBlockBitmapLo     = 0x00
	gdInodeBitmapLo     = 0x04
	gdInodeTableLo      = 0x08
	gdFreeBlocksLo      = 0x0c
	gdFreeInodesLo      = 0x0e
	gdUsedDirsLo        = 0x10
	gdFlags             = 0x12
	gdBlockBitmapSumLo  = 0x18
	gdInodeBitmapSumLo  = 0x1a
	gdItableUnusedLo    = 0x1c
	gdChecksum          = 0x1e
	gdBlockBitmapHi     = 0x20
	gdInodeBitmapHi     = 0x24
	gdInodeTableHi      = 0x28
	gdFreeBlocksHi      = 0x2c
	gdFreeInodesHi      = 0x2e
	gdUsedDirsHi        = 0x30
	gdItableUnusedHi    = 0x32
	gdBlockBitmapSumHi  = 0x38
	gdInodeBitmapSumHi  = 0x3a
	gdSize32, gdSize64  = 32, 64
	bgInodeUninit       = 0x1 // EXT4_BG_INODE_UNINIT
	bgBlockUninit       = 0x2 // EXT4_BG_BLOCK_UNINIT
	maxDescSize         = 1024
	maxLogBlockSize     = 6 // 64 KiB, EXT4_MAX_BLOCK_LOG_SIZE
	minBlockSize        = 1024
	minClustersPerGroup = 256 // as mke2fs has it; fewer could not even hold the metadata
	goodOldInodeSize    = 128 // EXT4_GOOD_OLD_INODE_SIZE
	goodOldFirstInode   = 11  // EXT4_GOOD_OLD_FIRST_INO
	superBackupsPerList = 2
	maxLogGroupsPerFlex = 31 // as ext4_fill_flex_info has it
)

// Offsets into struct ext4_inode (fs/ext4/ext4.h).
const (
	inMode       = 0x00
	inUIDLo      = 0x02
	inSizeLo     = 0x04
	inAtime      = 0x08
	inCtime      = 0x0c
	inMtime      = 0x10
	inDtime      = 0x14
	inGIDLo      = 0x18
	inLinks      = 0x1a
	inBlocksLo   = 0x1c
	inFlags      = 0x20
	inVersionLo  = 0x24
	inBlock      = 0x28
	inGeneration = 0x64
	inFileACLLo  = 0x68
	inSizeHi     = 0x6c
	inFaddr      = 0x70 // i_obso_faddr
	inBlocksHi   = 0x74
	inFileACLHi  = 0x76
	inUIDHi      = 0x78
	inGIDHi      = 0x7a
	inChecksumLo = 0x7c
	inExtraIsize = 0x80
	inChecksumHi = 0x82
	inCtimeExtra = 0x84
	inMtimeExtra = 0x88
	inAtimeExtra = 0x8c
	inVersionHi  = 0x98
	inProjectID  = 0x9c
	inBlockSize  = 60 // i_block, EXT4_N_BLOCKS * 4
	inBlockCount = 15 // EXT4_N_BLOCKS
	directBlocks = 12 // EXT4_NDIR_BLOCKS
)

// Inode numbers with a meaning of their own (fs/ext4/ext4.h).
const (
	inoBad        = 1
	inoRoot       = 2
	inoUserQuota  = 3
	inoGroupQuota = 4
	inoResize     = 7
	inoJournal    = 8
)

// i_flags (fs/ext4/ext4.h).
const (
	flEncrypt    = 0x00000800
	flIndex      = 0x00001000
	flIMagic     = 0x00002000
	flHugeFile   = 0x00040000
	flExtents    = 0x00080000
	flVerity     = 0x00100000
	flEAInode    = 0x00200000
	flInlineData = 0x10000000
	flCasefold   = 0x40000000
)

// File types in i_mode (include/uapi/linux/stat.h).
const (
	modeType    = 0xf000
	modeFIFO    = 0x1000
	modeChar    = 0x2000
	modeDir     = 0x4000
	modeBlock   = 0x6000
	modeRegular = 0x8000
	modeSymlink = 0xa000
	modeSocket  = 0xc000
)
