package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// superblock is the decoded struct ext4_super_block.
type superblock struct {
	raw              [superSize]byte
	features         [3]uint32 // indexed by featureWord
	blockSize        uint64
	blocks           uint64 // s_blocks_count
	freeBlocks       uint64
	reservedBlocks   uint64 // s_r_blocks_count: free ones that only root may use
	inodes           uint32
	freeInodes       uint32
	firstData        uint64
	clusterBits      uint64 // blocks in a cluster, as a power of two; 0 without bigalloc
	blocksPerGroup   uint64
	clustersPerGroup uint64
	inodesPerGroup   uint64
	inodeSize        uint64
	firstInode       uint32
	descSize         uint64
	reservedGDT      uint64
	firstMetaBG      uint64
	groups           uint64
	seed             uint32 // of all metadata_csum checksums
}

func readSuperblock(r io.ReaderAt, size int64) (*superblock, error) {
	sb := &superblock{}
	if size < superOffset+superSize {
		return nil, ErrNotExt
	}
	if _, err := r.ReadAt(sb.raw[:], superOffset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading superblock: %w", err)
	}
	if le.Uint16(sb.raw[sbMagic:]) != superMagic {
		return nil, ErrNotExt
	}
	sb.decode()
	return sb, nil
}

func (sb *superblock) u16(off int) uint16 { return le.Uint16(sb.raw[off:]) }
func (sb *superblock) u32(off int) uint32 { return le.Uint32(sb.raw[off:]) }
func (sb *superblock) has(w featureWord, bit uint32) bool {
	return sb.features[w]&bit != 0
}

func (sb *superblock) metadataCsum() bool { return sb.has(roCompat, roMetadataCsum) }

// groupCsum says whether group descriptors carry checksums, and with them the
// flags and counts that leave parts of a group uninitialised
// (ext4_has_group_desc_csum).
func (sb *superblock) groupCsum() bool {
	return sb.has(roCompat, roGdtCsum) || sb.metadataCsum()
}

// isHurd reports whether the file system was made for GNU/Hurd, which keeps other things
// in some fields of the inodes. Other systems are but a label.
func (sb *superblock) isHurd() bool { return sb.u32(sbCreatorOS) == osHurd }

// decode trusts nothing: check says afterwards whether the fields make sense.
func (sb *superblock) decode() {
	sb.features = [3]uint32{sb.u32(sbFeatureCompat), sb.u32(sbFeatureIncompat), sb.u32(sbFeatureROCompat)}
	sb.blockSize = minBlockSize << min(sb.u32(sbLogBlockSize), maxLogBlockSize+1)
	sb.blocks = uint64(sb.u32(sbBlocksCountLo))
	sb.freeBlocks = uint64(sb.u32(sbFreeBlocksLo))
	sb.reservedBlocks = uint64(sb.u32(sbReservedBlocksLo))
	sb.inodes, sb.freeInodes = sb.u32(sbInodesCount), sb.u32(sbFreeInodes)
	sb.firstData = uint64(sb.u32(sbFirstDataBlock))
	sb.blocksPerGroup = uint64(sb.u32(sbBlocksPerGroup))
	sb.decodeClusters()
	sb.inodesPerGroup = uint64(sb.u32(sbInodesPerGroup))
	sb.inodeSize = uint64(sb.u16(sbInodeSize))
	sb.firstInode = sb.u32(sbFirstIno)
	if sb.u32(sbRevLevel) < dynamicRev { // which had no such fields yet
		sb.inodeSize, sb.firstInode = goodOldInodeSize, goodOldFirstInode
	}
	sb.reservedGDT = uint64(sb.u16(sbReservedGDT))
	sb.firstMetaBG = uint64(sb.u32(sbFirstMetaBG))
	sb.descSize = gdSize32
	if sb.has(incompat, incompat64Bit) {
		sb.blocks |= uint64(sb.u32(sbBlocksCountHi)) << 32
		sb.freeBlocks |= uint64(sb.u32(sbFreeBlocksHi)) << 32
		sb.reservedBlocks |= uint64(sb.u32(sbReservedBlocksHi)) << 32
		sb.descSize = uint64(sb.u16(sbDescSize))
	}
	if sb.blocksPerGroup != 0 && sb.blocks > sb.firstData {
		sb.groups = (sb.blocks - sb.firstData + sb.blocksPerGroup - 1) / sb.blocksPerGroup
	}
	sb.seed = crc32c(^uint32(0), sb.raw[sbUUID:sbUUID+16])
	if sb.has(incompat, incompatCsumSeed) {
		sb.seed = sb.u32(sbChecksumSeed)
	}
}

// check returns every reason why the file system is refused. size is what the
// image or partition r offers, in bytes.
func (sb *superblock) check(r io.ReaderAt, size int64) ([]*RefusedError, error) {
	if sb.metadataCsum() {
		if t := sb.raw[sbChecksumType]; t != checksumTypeCRC32C {
			return []*RefusedError{refuse("a newer vmseal may know it", "unknown s_checksum_type %d", t)}, nil
		}
		if got, want := sb.u32(sbChecksum), crc32c(^uint32(0), sb.raw[:sbChecksum]); got != want {
			return []*RefusedError{incurable("superblock checksum is %#08x, computed %#08x", got, want)}, nil
		}
	}
	geometry := sb.checkGeometry(size)
	out := sb.refusedFeatures()
	out = append(out, sb.checkState()...)
	out = append(out, geometry...)
	if len(geometry) > 0 || !sb.has(incompat, incompatMMP) {
		return out, nil
	}
	// A file system in use has other reasons too; this one says what they mean.
	err := sb.checkMMP(r)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return slices.Insert(out, 0, refused), nil
	}
	return out, err
}

func (sb *superblock) checkState() (out []*RefusedError) {
	state := sb.u16(sbState)
	if state&stateError != 0 {
		out = append(out, damaged("file system is marked as having errors"))
	}
	if state&stateValid == 0 {
		out = append(out, refuse(hintRecover, "file system was not unmounted cleanly"))
	}
	if !sb.has(compat, compatHasJournal) && sb.u32(sbJournalInum)|sb.u32(sbJournalDev) != 0 {
		out = append(out, damaged("superblock names a journal, but the feature has_journal is missing"))
	}
	switch n, has := sb.u32(sbOrphanFileInum), sb.has(compat, compatOrphanFile); {
	case has && n == 0:
		out = append(out, incurable("file system has the feature orphan_file, but names no such file"))
	case !has && n >= sb.firstInode && n <= sb.inodes: // another number means nothing
		out = append(out, incurable("superblock names inode %d as orphan file, but the feature orphan_file is missing", n))
	}
	if refused := sb.checkQuotaInodes(); refused != nil {
		out = append(out, refused)
	}
	if u := sb.raw[sbJournalUUID : sbJournalUUID+16]; sb.has(compat, compatHasJournal) && (sb.u32(sbJournalDev) != 0 || sb.u32(sbJournalInum) == 0) {
		out = append(out, refuse("on a copy of the image, 'tune2fs -f -O ^has_journal FILESYSTEM && tune2fs -j FILESYSTEM' moves the journal inside",
			"file system has an external journal"))
	} else if !isZero(u) {
		out = append(out, incurable("superblock names an external journal, %x", u))
	}
	if n := sb.u32(sbLastOrphan); n != 0 {
		// Needed: the kernel deletes it at the next mount, or cuts off its end.
		out = append(out, refuse(hintRecover, "orphan inode %d waits to be deleted", n))
	}
	if rev := sb.u32(sbRevLevel); rev > dynamicRev {
		out = append(out, refuse(hintNewer, "revision level %d is not supported", rev))
	}
	return out
}

// checkGeometry holds the sizes to what ext4_fill_super accepts, and to the image.
func (sb *superblock) checkGeometry(size int64) []*RefusedError {
	bad := func(format string, args ...any) []*RefusedError {
		return []*RefusedError{incurable("superblock: "+format, args...)}
	}
	mendable := func(format string, args ...any) []*RefusedError {
		return []*RefusedError{damaged("superblock: "+format, args...)}
	}
	wantFirst := uint64(0)
	if sb.blockSize == minBlockSize && sb.clusterBits == 0 {
		wantFirst = 1
	}
	switch {
	case sb.u32(sbLogBlockSize) > maxLogBlockSize:
		return bad("s_log_block_size %d is out of range", sb.u32(sbLogBlockSize))
	case sb.blocks > uint64(size)/sb.blockSize:
		return []*RefusedError{refuse("the image was cut short, or the partition is too small",
			"file system has %d blocks of %d bytes, but only %d bytes are there", sb.blocks, sb.blockSize, size)}
	case sb.firstData != wantFirst:
		return bad("s_first_data_block is %d, expected %d", sb.firstData, wantFirst)
	case sb.reservedBlocks > sb.blocks/2:
		return bad("s_r_blocks_count %d is out of range", sb.reservedBlocks)
	case sb.groups == 0:
		return bad("there are no block groups")
	case sb.inodeSize < goodOldInodeSize || sb.inodeSize > sb.blockSize || bits.OnesCount64(sb.inodeSize) != 1:
		return bad("s_inode_size %d is out of range", sb.inodeSize)
	case sb.inodesPerGroup == 0 || sb.inodesPerGroup > sb.blockSize*8 || sb.inodesPerGroup%8 != 0 ||
		sb.inodesPerGroup%(sb.blockSize/sb.inodeSize) != 0:
		return bad("s_inodes_per_group %d is out of range", sb.inodesPerGroup)
	case uint64(sb.inodes) != sb.inodesPerGroup*sb.groups:
		return mendable("s_inodes_count is %d, but %d groups have %d inodes each", sb.inodes, sb.groups, sb.inodesPerGroup)
	case sb.firstInode < goodOldFirstInode || sb.firstInode > sb.inodes:
		return bad("s_first_ino %d is out of range", sb.firstInode)
	case bits.OnesCount16(sb.u16(sbDescSize)) > 1 || sb.u16(sbDescSize) > maxDescSize: // for e2fsck, without 64bit too
		return bad("s_desc_size %d is out of range", sb.u16(sbDescSize))
	case sb.has(incompat, incompat64Bit) && (sb.descSize < gdSize64 || sb.descSize > min(maxDescSize, sb.blockSize) || bits.OnesCount64(sb.descSize) != 1):
		return bad("s_desc_size %d is out of range", sb.descSize)
	case sb.reservedGDT > sb.blockSize/4:
		return bad("s_reserved_gdt_blocks %d is out of range", sb.reservedGDT)
	case sb.reservedGDT != 0 && !sb.has(compat, compatResizeInode):
		return mendable("blocks are reserved for descriptors, but the feature resize_inode is missing")
	case sb.raw[sbLogGroupsPerFlex] > maxLogGroupsPerFlex:
		return bad("s_log_groups_per_flex %d is out of range", sb.raw[sbLogGroupsPerFlex])
	case sb.has(incompat, incompatMetaBG) && sb.firstMetaBG > sb.descBlocks():
		return mendable("s_first_meta_bg %d is out of range", sb.firstMetaBG)
	case sb.freeBlocks > sb.blocks || sb.freeInodes > sb.inodes:
		return mendable("there are more free blocks or inodes than blocks or inodes")
	}
	return sb.checkClusters()
}

// descBlocks is the number of blocks that hold group descriptors.
func (sb *superblock) descBlocks() uint64 {
	per := sb.descsPerBlock()
	return (sb.groups + per - 1) / per
}

func (sb *superblock) descsPerBlock() uint64 { return sb.blockSize / sb.descSize }

// Info is what the superblock says about a file system.
type Info struct {
	Kind        string // "ext2", "ext3" or "ext4"
	UUID        string
	Label       string
	LastMounted string
	BlockSize   int
	InodeSize   int
	Blocks      uint64
	FreeBlocks  uint64
	Inodes      uint64
	FreeInodes  uint64
	Features    []string
	Problems    []string // why it is not opened or not written, as far as the superblock tells
}

// ReadInfo reads the superblock alone and refuses nothing but ErrNotExt. size
// is what the image or partition offers, in bytes.
func ReadInfo(r io.ReaderAt, size int64) (*Info, error) {
	sb, err := readSuperblock(r, size)
	if err != nil {
		return nil, err
	}
	info := sb.info()
	refused, err := sb.check(r, size)
	if err != nil {
		return nil, err
	}
	for _, p := range append(refused, sb.readOnlyFeatures()...) {
		info.Problems = append(info.Problems, p.Reason)
	}
	return info, nil
}

func (sb *superblock) info() *Info {
	u := sb.raw[sbUUID : sbUUID+16]
	return &Info{
		Kind:        sb.kind(),
		UUID:        fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:]),
		Label:       cString(sb.raw[sbVolumeName : sbVolumeName+16]),
		LastMounted: cString(sb.raw[sbLastMounted : sbLastMounted+64]),
		BlockSize:   int(sb.blockSize),
		InodeSize:   int(sb.inodeSize),
		Blocks:      sb.blocks,
		FreeBlocks:  sb.freeBlocks,
		Inodes:      uint64(sb.inodes),
		FreeInodes:  uint64(sb.freeInodes),
		Features:    sb.featureNames(),
	}
}

// kind names the oldest of the three drivers that would mount it.
func (sb *superblock) kind() string {
	const (
		ext3Incompat = incompatFiletype | incompatRecover | incompatMetaBG
		ext3ROCompat = roSparseSuper | roLargeFile
	)
	switch {
	case sb.features[incompat]&^ext3Incompat != 0 || sb.features[roCompat]&^ext3ROCompat != 0:
		return "ext4"
	case sb.has(compat, compatHasJournal):
		return "ext3"
	}
	return "ext2"
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
