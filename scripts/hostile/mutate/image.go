package mutate

import (
	"bytes"
	"fmt"
	"slices"
)

// An Image is a disk with one healthy file system on it, and where the
// metadata lies.
type Image struct {
	Name  string
	Bytes []byte

	*geometry
	objects []*object
	blocks  []uint64 // that something refers to
	inodes  []uint32 // in use, with contents
	dirs    []uint32
}

// An object is one structure on the disk.
type object struct {
	kind   string
	where  string
	at     int // from the start of the disk
	size   int
	fields []field
	owner  uint32 // the inode that it belongs to, 0 for none

	rank rank
	seal func(b []byte) // makes its checksums in b right; nil if it has none
}

// A rank orders the seals: what a checksum covers comes before it.
type rank int

const (
	inner  rank = iota // entries, and blocks of all kinds
	middle             // inodes
	outer              // group descriptors, the partition table's entries
	outmost
)

func (o *object) String() string {
	if o.where == "" {
		return o.kind
	}
	return o.kind + " of " + o.where
}

func (o *object) has(name string) bool {
	return slices.ContainsFunc(o.fields, func(f field) bool { return f.name == name })
}

func (o *object) bytes(b []byte) []byte { return b[o.at:][:o.size] }

// Parse finds the metadata of a disk whose file system starts at byte start.
func Parse(name string, disk []byte, start int) (im *Image, err error) {
	// A fault of the parser, or an image that is not healthy after all.
	defer func() {
		if r := recover(); r != nil {
			im, err = nil, fmt.Errorf("image %s: cannot be parsed: %v", name, r)
		}
	}()
	im = &Image{Name: name, Bytes: disk, geometry: newGeometry(disk, start)}
	if start > 0 {
		im.addPartitionTable()
	}
	im.addSuper()
	im.addGroups()
	for n := uint32(1); n <= im.inodeCount; n++ {
		im.addInode(n)
	}
	im.addMMP()
	slices.Sort(im.blocks)
	im.blocks = slices.Compact(im.blocks)
	slices.SortStableFunc(im.objects, func(a, b *object) int { return int(a.rank - b.rank) })
	return im, nil
}

func (im *Image) add(o *object) *object {
	if o.size == 0 {
		last := o.fields[len(o.fields)-1]
		o.size = last.off + last.size
	}
	im.objects = append(im.objects, o)
	return o
}

// note remembers a block as one that others may be made to refer to.
func (im *Image) note(block uint64) { im.blocks = append(im.blocks, block) }

// Seal makes the checksums of a changed copy of the image right.
func (im *Image) Seal(b []byte) {
	for _, o := range im.objects {
		if o.seal != nil {
			o.seal(b)
		}
	}
}

func (im *Image) addSuper() {
	o := im.add(&object{kind: "superblock", at: im.start + superOffset, fields: superLayout, rank: outmost})
	if !im.metadataCsum {
		return
	}
	sum := find(superLayout, "s_checksum")
	o.seal = func(b []byte) { sum.put(o.bytes(b), uint64(crc32c(^uint32(0), o.bytes(b)[:sum.off]))) }
}

// addGroups adds the descriptors and the bitmaps.
func (im *Image) addGroups() {
	fields := groupLayout32
	if im.descSize >= 64 {
		fields = groupLayout64
	}
	for g := range im.groups {
		where := fmt.Sprintf("group %d", g)
		o := im.add(&object{kind: "descriptor", where: where, at: im.descAt(g), fields: fields, size: im.descSize, rank: outer})
		o.seal = func(b []byte) { im.sealGroup(b, g) }
		d := im.group(im.Bytes, g)
		if !d.blockUninit {
			im.add(&object{kind: "block bitmap", where: where, at: im.blockAt(d.blockBitmap), size: im.blockSize})
		}
		if !d.inodeUninit {
			im.add(&object{kind: "inode bitmap", where: where, at: im.blockAt(d.inodeBitmap), size: im.blockSize})
		}
		im.note(d.blockBitmap)
		im.note(d.inodeBitmap)
		im.note(d.inodeTable)
		im.note(uint64(im.descAt(g)-im.start) / uint64(im.blockSize))
	}
}

// addMMP adds the block of multiple mount protection.
func (im *Image) addMMP() {
	if !im.incompat(0x100) { // EXT4_FEATURE_INCOMPAT_MMP
		return
	}
	block := find(superLayout, "s_mmp_block").get(im.super(im.Bytes))
	im.note(block)
	o := im.add(&object{kind: "mmp", at: im.blockAt(block), fields: mmpLayout})
	if im.metadataCsum {
		sum := find(mmpLayout, "mmp_checksum")
		o.seal = func(b []byte) { sum.put(o.bytes(b), uint64(crc32c(im.seed(b), o.bytes(b)[:sum.off]))) }
	}
}

// Clone returns a copy of the image's bytes.
func (im *Image) Clone() []byte { return bytes.Clone(im.Bytes) }
