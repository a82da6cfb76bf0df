package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/vmseal/vmseal/imagetool/block"
)

var le = binary.LittleEndian

const (
	sectorSize  = 512
	scanSectors = 4  // LABEL_SCAN_SECTORS of lib/label/label.h
	idLength    = 32 // ID_LEN
)

// checksum is calc_crc of lib/misc/crc.c with INITIAL_CRC: the CRC-32 of IEEE without the
// inversion at its end.
func checksum(parts ...[]byte) uint32 {
	const initial = 0xf597a6cf
	crc := ^uint32(initial)
	for _, p := range parts {
		crc = crc32.Update(crc, crc32.IEEETable, p)
	}
	return ^crc
}

// An extent of bytes on a device: struct disk_locn.
type stretch struct {
	start, size int64
}

func (s stretch) end() int64 { return s.start + s.size }

// A label is what marks a physical volume: struct label_header, and struct pv_header and
// pv_header_extension behind it.
type label struct {
	at    int64     // its sector
	id    string    // pv_uuid
	areas []stretch // for metadata
	boot  []stretch // for a boot loader
}

// errNoLabel says that a device is no physical volume.
var errNoLabel = errors.New("there is no label of a physical volume")

// readLabel takes the first label that is valid, as _find_lvm_header does. What is wrong
// with one that would be there but for that is the error.
func readLabel(dev block.Device) (*label, error) {
	head := make([]byte, scanSectors*sectorSize)
	n, err := dev.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the label of %s: %w", dev.Name(), err)
	}
	why := error(&DamagedError{errNoLabel})
	for at := 0; at+sectorSize <= n; at += sectorSize {
		sector := head[at : at+sectorSize]
		if string(sector[:8]) != "LABELONE" { // LABEL_ID
			continue
		}
		l, err := parseLabel(sector, at, dev.Size())
		if err == nil {
			return l, nil
		}
		why = &DamagedError{fmt.Errorf("the label at sector %d: %w", at/sectorSize, err)}
	}
	return nil, why
}

// parseLabel reads the label that lies in a sector.
func parseLabel(b []byte, at int, size int64) (*label, error) {
	const (
		headerSize = 32 // struct label_header
		checked    = 20 // where the bytes begin that crc_xl covers: offset_xl
	)
	if le.Uint64(b[8:]) != uint64(at/sectorSize) { // sector_xl
		return nil, errors.New("it is of another sector")
	}
	if le.Uint32(b[16:]) != checksum(b[checked:]) { // crc_xl
		return nil, errors.New("its checksum is wrong")
	}
	if kind := string(b[24:headerSize]); kind != "LVM2 001" { // type
		return nil, fmt.Errorf("it is of type %q", kind)
	}
	offset := le.Uint32(b[20:]) // offset_xl
	if offset < headerSize || offset > sectorSize-idLength-8 {
		return nil, fmt.Errorf("its contents begin at byte %d", offset)
	}
	l := &label{at: int64(at), id: string(b[offset : offset+idLength])} // struct pv_header
	rest := b[offset+idLength+8:]                                       // disk_areas_xl, behind device_size_xl
	var err error
	if _, rest, err = stretches(rest); err != nil { // where data may be; the metadata says it better
		return nil, err
	}
	if l.areas, rest, err = stretches(rest); err != nil {
		return nil, err
	}
	if len(l.areas) > maxAreas {
		return nil, fmt.Errorf("it names %d metadata areas", len(l.areas))
	}
	for _, a := range l.areas {
		if a.start < sectorSize || a.size < sectorSize || a.start > size-sectorSize || a.size > size-a.start {
			return nil, fmt.Errorf("a metadata area has %d bytes at %d, and the device %d", a.size, a.start, size)
		}
	}
	if len(rest) >= 8 && le.Uint32(rest) >= 1 { // struct pv_header_extension: version, flags
		if l.boot, _, err = stretches(rest[8:]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// stretches reads a list that ends with an offset of 0.
func stretches(b []byte) (list []stretch, rest []byte, err error) {
	for ; len(b) >= 16; b = b[16:] {
		s := stretch{int64(le.Uint64(b)), int64(le.Uint64(b[8:]))}
		if s.start == 0 {
			return list, b[16:], nil
		}
		if s.start < 0 || s.size < 0 || s.end() < 0 {
			return nil, nil, errors.New("it has offsets beyond the end of any device")
		}
		list = append(list, s)
	}
	return nil, nil, errors.New("a list in it has no end")
}
