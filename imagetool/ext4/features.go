package ext4

import "fmt"

// Feature bits of s_feature_compat, s_feature_incompat and s_feature_ro_compat
// (fs/ext4/ext4.h; names as in e2fsprogs' ext4(5)).
const (
	compatHasJournal   = 0x0004
	compatExtAttr      = 0x0008
	compatResizeInode  = 0x0010
	compatDirIndex     = 0x0020
	compatSparseSuper2 = 0x0200
	compatOrphanFile   = 0x1000

	incompatFiletype   = 0x0002
	incompatRecover    = 0x0004
	incompatJournalDev = 0x0008
	incompatMetaBG     = 0x0010
	incompatExtents    = 0x0040
	incompat64Bit      = 0x0080
	incompatMMP        = 0x0100
	incompatFlexBG     = 0x0200
	incompatEAInode    = 0x0400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000

	roSparseSuper   = 0x0001
	roLargeFile     = 0x0002
	roHugeFile      = 0x0008
	roGdtCsum       = 0x0010
	roDirNlink      = 0x0020
	roQuota         = 0x0100
	roBigalloc      = 0x0200
	roMetadataCsum  = 0x0400
	roReadOnly      = 0x1000
	roProject       = 0x2000
	roOrphanPresent = 0x10000
)

type featureWord int

const (
	compat featureWord = iota
	incompat
	roCompat
)

// A feature is one known bit. Those with a refusal are understood well enough
// to know that they must not be read here, or not be written.
type feature struct {
	word    featureWord
	bit     uint32
	name    string
	refused *RefusedError
}

var features = []feature{
	{compat, 0x1, "dir_prealloc", nil},
	{compat, 0x2, "imagic_inodes", nil}, // as long as no inode has the flag
	{compat, compatHasJournal, "has_journal", nil},
	{compat, compatExtAttr, "ext_attr", nil},
	{compat, compatResizeInode, "resize_inode", nil},
	{compat, compatDirIndex, "dir_index", nil},
	{compat, compatSparseSuper2, "sparse_super2", nil},
	{compat, 0x400, "fast_commit", nil},
	{compat, 0x800, "stable_inodes", nil},
	{compat, compatOrphanFile, "orphan_file", nil},

	{incompat, incompatFiletype, "filetype", nil},
	{incompat, incompatRecover, "needs_recovery",
		refuse(hintRecover, "journal needs recovery")},
	{incompat, incompatJournalDev, "journal_dev",
		refuse("name the image of the file system itself", "this is an external journal, not a file system")},
	{incompat, incompatMetaBG, "meta_bg", nil},
	{incompat, incompatExtents, "extent", nil},
	{incompat, incompat64Bit, "64bit", nil},
	{incompat, incompatMMP, "mmp", nil},
	{incompat, incompatFlexBG, "flex_bg", nil},
	{incompat, incompatEAInode, "ea_inode", nil},
	{incompat, 0x1000, "dirdata",
		refuse("copy the files to a file system without this feature", "file system feature dirdata is not supported")},
	{incompat, incompatCsumSeed, "metadata_csum_seed", nil},
	{incompat, incompatLargeDir, "large_dir", nil},
	{incompat, incompatInlineData, "inline_data", nil},
	{incompat, 0x10000, "encrypt", nil},  // as long as no inode has the flag
	{incompat, 0x20000, "casefold", nil}, // likewise

	{roCompat, roSparseSuper, "sparse_super", nil},
	{roCompat, roLargeFile, "large_file", nil},
	{roCompat, roHugeFile, "huge_file", nil},
	{roCompat, roGdtCsum, "uninit_bg", nil},
	{roCompat, roDirNlink, "dir_nlink", nil},
	{roCompat, 0x40, "extra_isize", nil},
	{roCompat, roQuota, "quota", nil},
	{roCompat, roBigalloc, "bigalloc", nil},
	{roCompat, roMetadataCsum, "metadata_csum", nil},
	{roCompat, roReadOnly, "read-only", nil},
	{roCompat, roProject, "project", nil},
	{roCompat, 0x8000, "verity", nil},
	{roCompat, roOrphanPresent, "orphan_present",
		refuse(hintRecover, "orphan file lists inodes that wait to be deleted")},
}

// featureNames lists the bits that are set, unknown ones by number.
func (sb *superblock) featureNames() []string {
	var names []string
	rest := sb.features
	for _, f := range features {
		if sb.features[f.word]&f.bit != 0 {
			names = append(names, f.name)
			rest[f.word] &^= f.bit
		}
	}
	for w, bits := range rest {
		if bits != 0 {
			names = append(names, fmt.Sprintf("unknown_%s_%#x", featureWord(w), bits))
		}
	}
	return names
}

// unknownFeatures are the bits that are set and have no name here.
func (sb *superblock) unknownFeatures() [3]uint32 {
	rest := sb.features
	for _, f := range features {
		rest[f.word] &^= f.bit
	}
	return rest
}

const hintNewer = "a newer vmseal may know it"

// refusedFeatures says which of the bits that are set forbid to read on.
func (sb *superblock) refusedFeatures() (out []*RefusedError) {
	for _, f := range features {
		if sb.features[f.word]&f.bit != 0 && f.refused != nil {
			out = append(out, f.refused)
		}
	}
	if bits := sb.unknownFeatures()[incompat]; bits != 0 {
		out = append(out, refuse(hintNewer, "unknown incompat features %#x", bits))
	}
	return out
}

// readOnlyFeatures says which of them allow to read, as the kernel does, but not to write.
// Compatible ones do not keep the kernel from writing, but e2fsck, which has to find
// everything as it should be.
func (sb *superblock) readOnlyFeatures() (out []*RefusedError) {
	if sb.has(roCompat, roReadOnly) {
		// Needed: whoever set it wants nothing to be written, and the kernel obeys.
		out = append(out, refuse("on a copy of the image, 'tune2fs -O ^read-only FILESYSTEM' takes the mark away", "file system is marked read-only"))
	}
	for _, w := range []featureWord{compat, roCompat} {
		if bits := sb.unknownFeatures()[w]; bits != 0 {
			out = append(out, refuse(hintNewer, "unknown %s features %#x: the file system can only be read", w, bits))
		}
	}
	return out
}

func (w featureWord) String() string {
	return [...]string{"compat", "incompat", "ro_compat"}[w]
}
