package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Offsets into struct journal_superblock_s (include/linux/jbd2.h). The journal
// is big-endian.
const (
	jbMagic           = 0x00
	jbBlockType       = 0x04
	jbBlockSize       = 0x0c
	jbMaxLen          = 0x10
	jbFirst           = 0x14
	jbStart           = 0x1c
	jbErrno           = 0x20
	jbCompat          = 0x24
	jbIncompat        = 0x28
	jbROCompat        = 0x2c
	jbUsers           = 0x40
	jbChecksumType    = 0x50
	jbChecksum        = 0xfc
	jbSize            = 1024
	journalMagic      = 0xc03b3998 // JBD2_MAGIC_NUMBER
	journalSuperV1    = 3          // JBD2_SUPERBLOCK_V1
	journalSuperV2    = 4          // JBD2_SUPERBLOCK_V2
	journalCsumV2V3   = 0x8 | 0x10 // JBD2_FEATURE_INCOMPAT_CSUM_V2, _V3
	journalCRC32CType = 4          // JBD2_CRC32C_CHKSUM
	journalChecksum   = 0x1        // JBD2_FEATURE_COMPAT_CHECKSUM
	journalIncompat   = 0x3f       // JBD2_KNOWN_INCOMPAT_FEATURES
	journalMinBlocks  = 1024       // JBD2_MIN_JOURNAL_BLOCKS
)

// journalInode is the inode of the journal, 0 if there is none inside. It was a file with a
// name if tune2fs -j added it while the file system was mounted; e2fsck renames it.
func (fs *FS) journalInode() uint32 {
	if !fs.sb.has(compat, compatHasJournal) {
		return 0
	}
	return fs.sb.u32(sbJournalInum)
}

// checkJournal refuses a journal that is not empty: what it holds is newer than
// what lies in the file system. The needs_recovery feature should say the same,
// but a crash or a tool may have lost it.
func (fs *FS) checkJournal() error {
	if !fs.sb.has(compat, compatHasJournal) {
		return nil
	}
	in, err := fs.Inode(fs.journalInode())
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	if !in.IsRegular() || in.has(flInlineData) {
		return damaged("journal inode is not a regular file")
	}
	b := make([]byte, jbSize)
	c, err := fs.Contents(in)
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	if _, err := c.ReadAt(b, 0); err != nil {
		return fmt.Errorf("reading the journal superblock: %w", err)
	}
	return fs.checkJournalSuper(b, uint64(in.Size))
}

func (fs *FS) checkJournalSuper(b []byte, size uint64) error {
	be := binary.BigEndian
	if be.Uint32(b[jbMagic:]) != journalMagic {
		return damaged("journal superblock has no magic number")
	}
	kind := be.Uint32(b[jbBlockType:])
	if kind != journalSuperV1 && kind != journalSuperV2 {
		return incurable("journal superblock has block type %d", kind)
	}
	if kind == journalSuperV2 && be.Uint32(b[jbIncompat:])&journalCsumV2V3 != 0 {
		if b[jbChecksumType] != journalCRC32CType {
			return damaged("journal superblock has unknown checksum type %d", b[jbChecksumType])
		}
		zeroed := bytes.Clone(b)
		be.PutUint32(zeroed[jbChecksum:], 0)
		if got, want := be.Uint32(b[jbChecksum:]), crc32c(^uint32(0), zeroed); got != want {
			return damaged("journal superblock checksum is %#08x, computed %#08x", got, want)
		}
	}
	if kind == journalSuperV2 {
		if err := checkJournalFeatures(b); err != nil {
			return err
		}
	}
	if n := uint64(be.Uint32(b[jbBlockSize:])); n != fs.sb.blockSize {
		return damaged("journal has blocks of %d bytes, the file system of %d", n, fs.sb.blockSize)
	}
	n := be.Uint32(b[jbMaxLen:])
	if uint64(n) > size/fs.sb.blockSize {
		return damaged("journal has %d blocks, its inode %d", n, size/fs.sb.blockSize)
	}
	if n < journalMinBlocks {
		return incurable("journal has %d blocks, fewer than %d", n, journalMinBlocks)
	}
	if first := be.Uint32(b[jbFirst:]); first == 0 || first >= n {
		return incurable("journal begins at its block %d of %d", first, n)
	}
	if n := int32(be.Uint32(b[jbErrno:])); n != 0 {
		return refuse(hintFsck, "journal records error %d", n)
	}
	if n := be.Uint32(b[jbStart:]); n != 0 {
		return refuse(hintRecover, "journal is not empty: it starts at block %d", n)
	}
	return nil
}

// checkJournalFeatures follows jbd2_journal_check_used_features and what e2fsck
// wants of a journal that one file system has for itself.
func checkJournalFeatures(b []byte) error {
	be := binary.BigEndian
	compat, incompat, ro := be.Uint32(b[jbCompat:]), be.Uint32(b[jbIncompat:]), be.Uint32(b[jbROCompat:])
	users := be.Uint32(b[jbUsers:])
	switch {
	case users > 1:
		return damaged("journal has %d users", users)
	case compat&^journalChecksum|incompat&^journalIncompat|ro != 0:
		return refuse("a newer vmseal may know them", "journal has unknown features %#x, %#x, %#x", compat, incompat, ro)
	case incompat&journalCsumV2V3 == journalCsumV2V3 || incompat&journalCsumV2V3 != 0 && compat&journalChecksum != 0:
		return damaged("journal has two kinds of checksums")
	}
	return nil
}
