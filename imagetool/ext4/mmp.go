package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// struct mmp_struct (fs/ext4/ext4.h): by this block, hosts that share a disk find
// out that another one uses the file system (multiple mount protection).
const (
	mmpOffMagic    = 0x00
	mmpOffSeq      = 0x04
	mmpOffNode     = 0x10
	mmpOffDevice   = 0x50
	mmpOffInterval = 0x70
	mmpOffChecksum = 0x3fc
	mmpSize        = 1024
	mmpMagic       = 0x004d4d50 // EXT4_MMP_MAGIC
	mmpSeqClean    = 0xff4d4d50 // EXT4_MMP_SEQ_CLEAN
	mmpSeqFsck     = 0xe24d4d50 // EXT4_MMP_SEQ_FSCK
	mmpOwnName     = "vmseal"
)

const hintMMP = "wait until it is no longer used; if nobody uses it any more, 'tune2fs -f -E clear_mmp FILESYSTEM' says so"

// mmpBlock is where the block lies, 0 without the feature.
func (sb *superblock) mmpBlock() uint64 {
	if !sb.has(incompat, incompatMMP) {
		return 0
	}
	return le.Uint64(sb.raw[sbMMPBlock:])
}

func (sb *superblock) mmpOffset() int64 { return int64(sb.mmpBlock() * sb.blockSize) }

// readMMP reads the block and checks that it is one (read_mmp_block).
func (sb *superblock) readMMP(r io.ReaderAt) ([]byte, error) {
	block := sb.mmpBlock()
	if block <= sb.firstData || block >= sb.blocks {
		return nil, incurable("MMP block %d is outside the file system", block)
	}
	raw := make([]byte, mmpSize)
	if n, err := r.ReadAt(raw, sb.mmpOffset()); n < mmpSize {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading MMP block %d: %w", block, err)
	}
	if le.Uint32(raw[mmpOffMagic:]) != mmpMagic {
		return nil, damaged("MMP block %d has no magic number", block)
	}
	if sb.metadataCsum() {
		if got, want := le.Uint32(raw[mmpOffChecksum:]), sb.mmpChecksum(raw); got != want {
			return nil, damaged("MMP block %d: checksum is %#08x, computed %#08x", block, got, want)
		}
	}
	return raw, nil
}

// mmpChecksum is mmp_checksum (ext4_mmp_csum).
func (sb *superblock) mmpChecksum(raw []byte) uint32 { return crc32c(sb.seed, raw[:mmpOffChecksum]) }

// checkMMP refuses a file system that somebody uses.
func (sb *superblock) checkMMP(r io.ReaderAt) error {
	raw, err := sb.readMMP(r)
	if err != nil {
		return err
	}
	switch seq := le.Uint32(raw[mmpOffSeq:]); seq {
	case mmpSeqClean:
		return nil
	case mmpSeqFsck:
		return refuse(hintMMP, "file system is in use%s by e2fsck or a tool like it, which runs or was cut short (MMP)", mmpHost(raw))
	default:
		// Needed: another host may write to it at the same time.
		return refuse(hintMMP, "file system is in use%s, or was when that host failed (MMP sequence %#x)", mmpHost(raw), seq)
	}
}

// mmpHost names the last host that wrote to the block, if it has a name that
// prints.
func mmpHost(raw []byte) string {
	name := cString(raw[mmpOffNode:mmpOffDevice])
	if name == "" || strconv.Quote(name) != `"`+name+`"` {
		return ""
	}
	return " on host " + name
}

// mmpMark marks the file system as in use, and as free afterwards, as ext2fs_mmp_start
// and ext2fs_mmp_stop do. The time in it stays, so that the same work gives the same
// bytes. Those two wait in between for hosts that have come at the same moment; here
// nothing may have touched the block from before the first write to after the last.
func (fs *FS) mmpMark() (mark, error) {
	if err := fs.sb.checkMMP(fs.r); err != nil {
		return mark{}, err
	}
	before, err := fs.sb.readMMP(fs.r)
	if err != nil {
		return mark{}, err
	}
	with := func(seq uint32) []byte {
		b := bytes.Clone(before)
		clear(b[mmpOffNode:mmpOffInterval])
		copy(b[mmpOffNode:], mmpOwnName)
		le.PutUint32(b[mmpOffSeq:], seq)
		if fs.sb.metadataCsum() {
			le.PutUint32(b[mmpOffChecksum:], fs.sb.mmpChecksum(b))
		}
		return b
	}
	return mark{"MMP block", fs.sb.mmpOffset(), before, with(mmpSeqFsck), with(mmpSeqClean)}, nil
}
