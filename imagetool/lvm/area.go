package lvm

import (
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/imagetool/block"
)

const (
	areaMagic  = " LVM2 x[5A%r0N*>" // FMTT_MAGIC
	maxText    = 4 << 20            // of one group; LVM2 itself makes areas of 1 MiB, for texts of half of that
	maxAreas   = 2                  // on one device: pvcreate takes --metadatacopies 0, 1 and 2
	ignoreText = 1                  // RAW_LOCN_IGNORED
)

// readArea gives the text that counts in a metadata area. It is nil where there is none,
// or where LVM2 was told to ignore the area.
func readArea(dev block.Device, a stretch) ([]byte, error) {
	header := make([]byte, sectorSize) // struct mda_header, MDA_HEADER_SIZE
	if err := block.ReadFull(dev, header, a.start); err != nil {
		return nil, fmt.Errorf("reading the metadata area at byte %d of %s: %w", a.start, dev.Name(), err)
	}
	where, err := parseArea(header, a)
	if err != nil {
		return nil, &DamagedError{fmt.Errorf("the metadata area at byte %d: %w", a.start, err)}
	}
	if where == nil {
		return nil, nil
	}
	text := make([]byte, where.size)
	first := min(where.size, a.size-where.start) // up to the end of the ring
	if err := block.ReadFull(dev, text[:first], a.start+where.start); err != nil {
		return nil, fmt.Errorf("reading the metadata of %s: %w", dev.Name(), err)
	}
	if err := block.ReadFull(dev, text[first:], a.start+sectorSize); err != nil {
		return nil, fmt.Errorf("reading the metadata of %s: %w", dev.Name(), err)
	}
	if checksum(text) != where.checksum {
		return nil, &DamagedError{fmt.Errorf("the metadata area at byte %d: the checksum of its text is wrong", a.start)}
	}
	return text, nil
}

// A location is struct raw_locn: where a text lies in its area.
type location struct {
	stretch
	checksum uint32
}

// parseArea checks what raw_parse_mda_header and read_metadata_location_summary do.
func parseArea(b []byte, a stretch) (*location, error) {
	switch {
	case le.Uint32(b) != checksum(b[4:]): // checksum_xl
		return nil, errors.New("the checksum of its header is wrong")
	case string(b[4:20]) != areaMagic:
		return nil, errors.New("it has another magic number")
	case le.Uint32(b[20:]) != 1: // version, FMTT_VERSION
		return nil, fmt.Errorf("it has version %d", le.Uint32(b[20:]))
	case le.Uint64(b[24:]) != uint64(a.start): // start
		return nil, fmt.Errorf("it says that it lies at byte %d", le.Uint64(b[24:]))
	case le.Uint64(b[32:]) != uint64(a.size): // size
		return nil, fmt.Errorf("it has %d bytes, and by the label %d", le.Uint64(b[32:]), a.size)
	}
	slot := b[40:] // raw_locns[0], the text that is committed
	l := &location{stretch{int64(le.Uint64(slot)), int64(le.Uint64(slot[8:]))}, le.Uint32(slot[16:])}
	switch {
	case le.Uint32(slot[20:])&ignoreText != 0, l.start == 0:
		return nil, nil
	case l.start < sectorSize || l.start >= a.size || l.size < 1 || l.size > a.size-sectorSize:
		return nil, fmt.Errorf("its text has %d bytes at %d", l.size, l.start)
	case l.size > maxText:
		return nil, fmt.Errorf("its text has %d bytes, at most %d are read", l.size, maxText)
	}
	return l, nil
}
