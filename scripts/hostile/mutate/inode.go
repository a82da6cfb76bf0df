package mutate

import "fmt"

// i_mode and i_flags (include/uapi/linux/stat.h, fs/ext4/ext4.h).
const (
	modeType    = 0xf000
	modeDir     = 0x4000
	modeRegular = 0x8000
	modeSymlink = 0xa000

	flagIndex   = 0x00001000
	flagExtents = 0x00080000
	flagEAInode = 0x00200000
	flagInline  = 0x10000000

	inodeBlockOff, inodeBlockSize = 0x28, 60
	journalInode                  = 8
)

// An owner is an inode whose metadata is being parsed.
type owner struct {
	*Image
	number uint32
	at     int
	raw    []byte
	where  string
	data   []uint64 // blocks of its contents in their order, holes as 0
}

func (o *owner) get(name string) uint64 { return find(inodeLayout, name).get(o.raw) }
func (o *owner) mode() uint64           { return o.get("i_mode") & modeType }
func (o *owner) has(flag uint64) bool   { return o.get("i_flags")&flag != 0 }

// seed of the checksums of its blocks, in a changed copy.
func (o *owner) seed(b []byte) uint32 { return o.inodeSeed(b, o.number, o.at) }

// addInode adds an inode and all the metadata that hangs on it. Of inodes that
// are free it takes a few.
func (im *Image) addInode(n uint32) {
	used := im.inUse(im.Bytes, n)
	if !used && n%8 != 0 {
		return
	}
	o := &owner{Image: im, number: n, at: im.inodeAt(im.Bytes, n), where: fmt.Sprintf("inode %d", n)}
	o.raw = im.Bytes[o.at:][:im.inodeSize]
	im.addInodeFields(o, used)
	if !used || o.get("i_mode") == 0 && n != 1 {
		return
	}
	im.inodes = append(im.inodes, n)
	o.addXattrs()
	switch {
	case o.has(flagInline):
		if o.mode() == modeDir {
			o.addInlineDir()
		}
		return
	case o.mode() == modeSymlink && o.get("i_blocks_lo") == 0, o.mode() != modeRegular && o.mode() != modeDir && o.mode() != modeSymlink:
		return
	}
	o.addMap()
	o.addContents()
}

func (im *Image) addInodeFields(o *owner, used bool) {
	kind, fields := "inode", inodeLayout
	if !used {
		kind = "free inode"
	}
	if im.inodeSize > 128 {
		fields = append(fields[:len(fields):len(fields)], inodeExtraLayout...)
	}
	inode := im.add(&object{kind: kind, where: o.where, at: o.at, fields: fields, size: im.inodeSize, owner: o.number, rank: middle})
	if im.metadataCsum && used && o.get("i_mode") != 0 {
		inode.seal = func(b []byte) { im.sealInode(b, o.number, o.at) }
	}
}

// addContents looks into files that are metadata themselves.
func (o *owner) addContents() {
	sb := o.super(o.Bytes)
	switch is := func(name string) bool { return uint64(o.number) == find(superLayout, name).get(sb) }; {
	case o.mode() == modeDir:
		o.dirs = append(o.dirs, o.number)
		o.addDir()
	case o.number == journalInode:
		o.addJournal()
	case o.compat(0x1000) && is("s_orphan_file_inum"): // EXT4_FEATURE_COMPAT_ORPHAN_FILE
		o.addOrphanFile()
	case o.roCompat(0x100) && (is("s_usr_quota_inum") || is("s_grp_quota_inum") || is("s_prj_quota_inum")): // EXT4_FEATURE_RO_COMPAT_QUOTA
		o.addQuota()
	}
}
