package hostile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// An lvmDisk is an MBR disk with two physical volumes of LVM2, whose group has the volumes root, in three segments, and
// swap. Nothing here but root holds files.
type lvmDisk struct {
	bytes []byte
	text  string
	root  [][2]int // where root lies: from, to
}

const (
	lvmSector  = 512
	lvmExtent  = 64 << 10
	lvmStart   = 1 << 20   // of the first partition
	lvmLabel   = lvmSector // in each of them
	lvmArea    = 4 << 10
	lvmAreaEnd = 128 << 10
	lvmData    = 128 << 10 // pe_start
	lvmText    = lvmArea + lvmSector
)

// newLVMDisk puts a file system into the volume root.
func newLVMDisk(fs []byte) *lvmDisk {
	extents := (len(fs) + lvmExtent - 1) / lvmExtent
	part := lvmData + (extents+8)*lvmExtent // each could have all of it
	d := &lvmDisk{bytes: make([]byte, lvmStart+2*part)}
	d.partition(0, lvmStart, part)
	d.partition(1, lvmStart+part, part)
	d.bytes[510], d.bytes[511] = 0x55, 0xaa

	a, b := extents/3, extents/2
	d.text = fmt.Sprintf(lvmMetadata, extents+8, extents+8,
		0, a, 0, 5, a, b-a, 1, 2, b, extents-b, 0, 6+a) // segments of root
	for _, s := range []struct{ pv, at, n int }{{0, 5, a}, {1, 2, b - a}, {0, 6 + a, extents - b}} {
		from := lvmStart + s.pv*part + lvmData + s.at*lvmExtent
		fs = fs[copy(d.bytes[from:from+s.n*lvmExtent], fs):]
		d.root = append(d.root, [2]int{from, from + s.n*lvmExtent})
	}
	swap := d.bytes[lvmStart+part+lvmData:] // extents 0 and 1 of the second
	binary.LittleEndian.PutUint32(swap[1024:], 1)
	binary.LittleEndian.PutUint32(swap[1028:], 2*lvmExtent/4096-1)
	copy(swap[4086:], "SWAPSPACE2")
	d.label(d.bytes[lvmStart:], 1)
	d.label(d.bytes[lvmStart+part:], 2)
	d.commit(d.bytes)
	return d
}

const lvmMetadata = `vg {
id = "000000-0000-0000-0000-0000-0000-000009"
seqno = 7
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 128
max_lv = 0
max_pv = 0
metadata_copies = 0
physical_volumes {
pv0 {
id = "000000-0000-0000-0000-0000-0000-000001"
status = ["ALLOCATABLE"]
flags = []
pe_start = 256
pe_count = %d
}
pv1 {
id = "000000-0000-0000-0000-0000-0000-000002"
status = ["ALLOCATABLE"]
flags = []
pe_start = 256
pe_count = %d
}
}
logical_volumes {
root {
id = "000000-0000-0000-0000-0000-0000-000003"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 3
segment1 {
start_extent = %d
extent_count = %d
type = "striped"
stripe_count = 1
stripes = [
"pv%d", %d
]
}
segment2 {
start_extent = %d
extent_count = %d
type = "striped"
stripe_count = 1
stripes = [
"pv%d", %d
]
}
segment3 {
start_extent = %d
extent_count = %d
type = "striped"
stripe_count = 1
stripes = [
"pv%d", %d
]
}
}
swap {
id = "000000-0000-0000-0000-0000-0000-000004"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1
segment1 {
start_extent = 0
extent_count = 2
type = "striped"
stripe_count = 1
stripes = [
"pv1", 0
]
}
}
}
}
contents = "Text Format Volume Group"
version = 1
`

// partition writes an entry of the MBR.
func (d *lvmDisk) partition(n, start, size int) {
	e := d.bytes[446+16*n:]
	e[4] = 0x8e
	binary.LittleEndian.PutUint32(e[8:], uint32(start/lvmSector))
	binary.LittleEndian.PutUint32(e[12:], uint32(size/lvmSector))
}

// label makes a physical volume of a partition: struct label_header and pv_header.
func (d *lvmDisk) label(pv []byte, id int) {
	le, b := binary.LittleEndian, pv[lvmLabel:][:lvmSector]
	copy(b, "LABELONE")
	le.PutUint64(b[8:], 1)
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], fmt.Sprintf("%032d", id))
	le.PutUint64(b[72:], lvmData)
	le.PutUint64(b[104:], lvmArea)
	le.PutUint64(b[112:], lvmAreaEnd-lvmArea)
	le.PutUint32(b[136:], 2) // the extension, with no boot loader
	le.PutUint32(b[140:], 1)
}

// parts are where the physical volumes begin.
func (d *lvmDisk) parts() [2]int { return [2]int{lvmStart, lvmStart + (len(d.bytes)-lvmStart)/2} }

// commit writes the text to both areas, with all checksums.
func (d *lvmDisk) commit(disk []byte) {
	for _, start := range d.parts() {
		d.write(disk[start:], d.text)
		sealLVM(disk[start:])
	}
}

// write puts a text into the area of a physical volume: struct mda_header and raw_locn.
func (d *lvmDisk) write(pv []byte, text string) {
	le, b := binary.LittleEndian, pv[lvmArea:][:lvmSector]
	copy(b[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], lvmArea)
	le.PutUint64(b[32:], lvmAreaEnd-lvmArea)
	le.PutUint64(b[40:], lvmSector)
	le.PutUint64(b[48:], uint64(len(text)))
	clear(pv[lvmText:lvmAreaEnd])
	copy(pv[lvmText:lvmAreaEnd], text)
}

// sealLVM corrects the checksums of a physical volume.
func sealLVM(pv []byte) {
	le := binary.LittleEndian
	sum := func(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }
	label, area := pv[lvmLabel:][:lvmSector], pv[lvmArea:][:lvmSector]
	le.PutUint32(label[16:], sum(label[20:]))
	if from, n := le.Uint64(area[40:]), le.Uint64(area[48:]); from < lvmAreaEnd && n < lvmAreaEnd && lvmArea+from+n <= lvmAreaEnd {
		le.PutUint32(area[56:], sum(pv[lvmArea+from:lvmArea+from+n]))
	}
	le.PutUint32(area, sum(area[4:]))
}

// take gives the bytes of root.
func (d *lvmDisk) take(disk []byte) (fs []byte) {
	for _, r := range d.root {
		fs = append(fs, disk[r[0]:r[1]]...)
	}
	return fs
}
