package lvmtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// MiB is a mebibyte.
const MiB = 1 << 20

const (
	sectorSize = 512
	magic      = " LVM2 x[5A%r0N*>" // FMTT_MAGIC
)

var le = binary.LittleEndian

// An Area is bytes of a physical volume.
type Area struct{ Start, Size int64 }

// A Physical is a physical volume.
type Physical struct {
	Bytes []byte
	ID    string // without dashes
	Areas []Area // for metadata
	Boot  []Area // for a boot loader
}

// ID makes the id of a physical volume, a group or a volume.
func ID(n int) string { return fmt.Sprintf("%032d", n) }

// Dashed is an id as text has it.
func Dashed(id string) string {
	return fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:])
}

// Checksum is that of LVM2 (lib/misc/crc.c).
func Checksum(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }

// New is a physical volume with one metadata area, as pvcreate makes it, over these bytes.
func New(n int, b []byte) *Physical {
	p := &Physical{Bytes: b, ID: ID(n), Areas: []Area{{4096, MiB - 4096}}}
	p.Label(1)
	return p
}

// Label writes the label to a sector.
func (p *Physical) Label(sector int) {
	b := make([]byte, sectorSize)
	copy(b, "LABELONE")
	le.PutUint64(b[8:], uint64(sector))
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], p.ID)
	le.PutUint64(b[64:], uint64(len(p.Bytes)))
	at := 72
	put := func(list []Area) {
		for _, a := range append(list, Area{}) {
			le.PutUint64(b[at:], uint64(a.Start))
			le.PutUint64(b[at+8:], uint64(a.Size))
			at += 16
		}
	}
	put([]Area{{MiB, 0}})
	put(p.Areas)
	le.PutUint32(b[at:], 2) // PV_HEADER_EXTENSION_VSN
	le.PutUint32(b[at+4:], 1)
	at += 8
	put(p.Boot)
	copy(p.Bytes[sector*sectorSize:], b)
	p.seal(sector)
}

// seal makes the checksum of the label in a sector right.
func (p *Physical) seal(sector int) {
	b := p.Bytes[sector*sectorSize:][:sectorSize]
	le.PutUint32(b[16:], Checksum(b[20:]))
}

// Seal makes the checksums of the label in sector 1 and of the header of the first area right.
func (p *Physical) Seal() {
	p.seal(1)
	b := p.Bytes[4096:][:sectorSize]
	le.PutUint32(b, Checksum(b[4:]))
}

// Commit writes a text to an area, from a place in its ring on.
func (p *Physical) Commit(area int, text string, at int64) {
	a := p.Areas[area]
	text += "\x00"
	ring := p.Bytes[a.Start : a.Start+a.Size]
	n := copy(ring[at:], text)
	copy(ring[sectorSize:], text[n:])
	p.Header(area, Area{at, int64(len(text))}, Checksum([]byte(text)), 0)
}

// Header writes the header of an area.
func (p *Physical) Header(area int, text Area, sum, flags uint32) {
	a := p.Areas[area]
	b := p.Bytes[a.Start:][:sectorSize]
	clear(b)
	copy(b[4:], magic)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], uint64(a.Start))
	le.PutUint64(b[32:], uint64(a.Size))
	le.PutUint64(b[40:], uint64(text.Start))
	le.PutUint64(b[48:], uint64(text.Size))
	le.PutUint32(b[56:], sum)
	le.PutUint32(b[60:], flags)
	le.PutUint32(b, Checksum(b[4:]))
}
