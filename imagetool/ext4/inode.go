package ext4

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// Inode is one decoded struct ext4_inode whose checksum was verified.
type Inode struct {
	Number     uint32
	Mode       uint16 // st_mode: file type and permission bits
	UID, GID   uint32
	Links      uint32
	Size       int64 // bytes
	Flags      uint32
	Generation uint32
	Atime      time.Time
	Ctime      time.Time
	Mtime      time.Time

	raw   []byte // the inode as it lies on disk, s_inode_size bytes
	seed  uint32 // of the checksums of everything that belongs to it
	acl   uint64 // i_file_acl: extended attribute block, 0 if none
	units uint64 // i_blocks in units of 512 bytes
}

func (in *Inode) IsRegular() bool { return in.Mode&modeType == modeRegular }
func (in *Inode) IsDir() bool     { return in.Mode&modeType == modeDir }
func (in *Inode) IsSymlink() bool { return in.Mode&modeType == modeSymlink }

func (in *Inode) has(flag uint32) bool { return in.Flags&flag != 0 }

// iBlock is the 60 bytes that hold block pointers, an extent tree's root, a
// short symbolic link or the start of inline data.
func (in *Inode) iBlock() []byte { return in.raw[inBlock : inBlock+inBlockSize] }

// Inode reads one inode by its number. What has the value of an extended
// attribute is not one that can be asked for.
func (fs *FS) Inode(number uint32) (*Inode, error) {
	in, err := fs.anyInode(number)
	if err == nil && in.has(flEAInode) {
		// Needed: it is no file that anybody could open.
		err = incurable("inode %d has the value of an extended attribute (ea_inode)", number)
	}
	return in, err
}

func (fs *FS) anyInode(number uint32) (*Inode, error) {
	block, off, err := fs.inodeLocation(number)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, fs.sb.inodeSize)
	if _, err := fs.r.ReadAt(raw, int64(block*fs.sb.blockSize+off)); err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", number, err)
	}
	return fs.decodeInode(number, raw)
}

// inodeLocation is the block of the inode table that holds an inode, and the
// inode's offset in it.
func (fs *FS) inodeLocation(number uint32) (block, off uint64, err error) {
	if number == 0 || number > fs.sb.inodes {
		return 0, 0, damaged("inode %d does not exist", number)
	}
	g, i := uint64(number-1)/fs.sb.inodesPerGroup, uint64(number-1)%fs.sb.inodesPerGroup
	at := i * fs.sb.inodeSize
	return fs.groups[g].inodeTable + at/fs.sb.blockSize, at % fs.sb.blockSize, nil
}

// decodeInode takes ownership of raw.
func (fs *FS) decodeInode(number uint32, raw []byte) (*Inode, error) {
	in := &Inode{
		Number:     number,
		Mode:       le.Uint16(raw[inMode:]),
		UID:        uint32(le.Uint16(raw[inUIDLo:])) | uint32(le.Uint16(raw[inUIDHi:]))<<16,
		GID:        uint32(le.Uint16(raw[inGIDLo:])) | uint32(le.Uint16(raw[inGIDHi:]))<<16,
		Links:      uint32(le.Uint16(raw[inLinks:])),
		Flags:      le.Uint32(raw[inFlags:]),
		Generation: le.Uint32(raw[inGeneration:]),
		raw:        raw,
		acl:        uint64(le.Uint32(raw[inFileACLLo:])),
	}
	in.seed = crc32cUint32(crc32cUint32(fs.sb.seed, number), in.Generation)
	if fs.sb.metadataCsum() {
		if got, want := in.storedChecksum(), in.checksum(); got != want {
			return nil, damaged("inode %d: checksum is %#x, computed %#x", number, got, want)
		}
	}
	if fs.sb.has(incompat, incompat64Bit) {
		in.acl |= uint64(le.Uint16(raw[inFileACLHi:])) << 32
	}
	size := uint64(le.Uint32(raw[inSizeLo:]))
	if in.IsRegular() || fs.sb.has(incompat, incompatLargeDir) { // ext4_isize
		size |= uint64(le.Uint32(raw[inSizeHi:])) << 32
	}
	if size > fs.maxSize(in) {
		return nil, damaged("inode %d: size %d is impossible", number, size)
	}
	in.Size = int64(size)
	in.units = fs.unitsOf(in)
	in.Atime = in.timestamp(inAtime, inAtimeExtra)
	in.Ctime = in.timestamp(inCtime, inCtimeExtra)
	in.Mtime = in.timestamp(inMtime, inMtimeExtra)
	return in, fs.checkInode(in)
}

// maxSize is how far the block map of an inode reaches (ext4_max_size,
// ext4_max_bitmap_size).
func (fs *FS) maxSize(in *Inode) uint64 {
	if in.has(flExtents) {
		return exMaxBlocks * fs.sb.blockSize
	}
	per := fs.sb.blockSize / 4
	blocks := directBlocks + per + per*per + per*per*per
	// i_blocks has 32 bits; the resize inode claims to be as large as its map is deep.
	if !fs.sb.has(roCompat, roHugeFile) && in.Number != inoResize {
		blocks = min(blocks, math.MaxUint32/(fs.sb.blockSize/512))
	}
	return blocks * fs.sb.blockSize
}

// checkInode refuses what the kernel refuses (__ext4_iget) and what this
// package does not handle.
func (fs *FS) checkInode(in *Inode) error {
	extra := in.extraSize()
	switch {
	case len(in.raw) > goodOldInodeSize && (goodOldInodeSize+extra > len(in.raw) || extra%4 != 0):
		return damaged("inode %d: i_extra_isize %d is out of range", in.Number, extra)
	// Needed: without its key, neither its contents nor the names in it can be read.
	case in.has(flEncrypt):
		return refuse("", "inode %d is encrypted, which is not supported", in.Number)
	// Needed: the names in it are the same if Unicode says so, whose tables are not here.
	case in.has(flCasefold):
		return refuse("", "inode %d is case-folded, which is not supported", in.Number)
	case in.has(flEAInode) && !fs.sb.has(incompat, incompatEAInode):
		return incurable("inode %d has the value of an extended attribute, but the file system lacks the feature", in.Number)
	case in.has(flInlineData) && !fs.sb.has(incompat, incompatInlineData):
		return damaged("inode %d: has inline data, but the file system lacks the feature", in.Number)
	case in.has(flInlineData) && in.has(flExtents):
		return damaged("inode %d: has both inline data and extents", in.Number)
	case in.has(flExtents) && !fs.sb.has(incompat, incompatExtents):
		return damaged("inode %d: has extents, but the file system lacks the feature", in.Number)
	case in.acl != 0 && !fs.sb.holds(in.acl):
		return damaged("inode %d: extended attribute block %d is outside the file system", in.Number, in.acl)
	}
	return nil
}

// extraSize is i_extra_isize, 0 where the inode has no room for it.
func (in *Inode) extraSize() int {
	if len(in.raw) <= goodOldInodeSize {
		return 0
	}
	return int(le.Uint16(in.raw[inExtraIsize:]))
}

// hasField reports whether the 4 bytes at off exist in this inode (EXT4_FITS_IN_INODE).
func (in *Inode) hasField(off int) bool {
	return off+4 <= goodOldInodeSize+in.extraSize()
}

// hasChecksumHi follows ext4_inode_csum_verify.
func (in *Inode) hasChecksumHi() bool {
	return len(in.raw) > goodOldInodeSize && in.extraSize() >= inChecksumHi+2-goodOldInodeSize
}

func (in *Inode) storedChecksum() uint32 {
	sum := uint32(le.Uint16(in.raw[inChecksumLo:]))
	if in.hasChecksumHi() {
		sum |= uint32(le.Uint16(in.raw[inChecksumHi:])) << 16
	}
	return sum
}

// checksum is CRC-32C over the inode with its checksum fields as zero
// (ext4_inode_csum).
func (in *Inode) checksum() uint32 {
	raw := bytes.Clone(in.raw)
	le.PutUint16(raw[inChecksumLo:], 0)
	if in.hasChecksumHi() {
		le.PutUint16(raw[inChecksumHi:], 0)
		return crc32c(in.seed, raw)
	}
	return crc32c(in.seed, raw) & 0xffff
}

// unitsOf follows ext4_inode_blocks: i_blocks counts 512 bytes, or whole
// blocks where the inode says so.
func (fs *FS) unitsOf(in *Inode) uint64 {
	n := uint64(le.Uint32(in.raw[inBlocksLo:]))
	if !fs.sb.has(roCompat, roHugeFile) {
		return n
	}
	n |= uint64(le.Uint16(in.raw[inBlocksHi:])) << 32
	if in.has(flHugeFile) {
		n *= fs.sb.blockSize / 512
	}
	return n
}

// timestamp follows ext4_decode_extra_time: two more bits of seconds and the
// nanoseconds lie behind the old inode.
func (in *Inode) timestamp(off, extraOff int) time.Time {
	sec := int64(int32(le.Uint32(in.raw[off:])))
	if !in.hasField(extraOff) {
		return time.Unix(sec, 0).UTC()
	}
	extra := le.Uint32(in.raw[extraOff:])
	return time.Unix(sec+int64(extra&3)<<32, int64(extra>>2)).UTC()
}
