package disk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
)

// A bootRecord is the table in sector 0, or at the head of a logical partition.
type bootRecord [4]bootEntry

// A bootEntry is struct msdos_partition (include/linux/msdos_partition.h).
type bootEntry struct {
	flag        byte // boot_ind
	kind        byte // sys_ind
	start, size uint32
}

const (
	bootRecordSize = 512
	bootEntries    = 446 // where they begin
	bootEntrySize  = 16

	typeExtended      = 0x05 // DOS_EXTENDED_PARTITION
	typeExtendedLBA   = 0x0f // WIN98_EXTENDED_PARTITION
	typeExtendedLinux = 0x85 // LINUX_EXTENDED_PARTITION
	typeProtective    = 0xee // EFI_PMBR_OSTYPE_EFI_GPT
)

// readBootRecord gives a record without entries where there is none.
func readBootRecord(sector []byte) (r bootRecord) {
	if len(sector) < bootRecordSize || sector[510] != 0x55 || sector[511] != 0xaa {
		return r
	}
	for i := range r {
		b := sector[bootEntries+i*bootEntrySize:][:bootEntrySize]
		r[i] = bootEntry{b[0], b[4], binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
	}
	return r
}

// isExtended is is_extended_partition of block/partitions/msdos.c.
func (e bootEntry) isExtended() bool {
	return e.kind == typeExtended || e.kind == typeExtendedLBA || e.kind == typeExtendedLinux
}

// protective is is_pmbr_valid of block/partitions/efi.c: how large the entry is does not
// matter.
func (r bootRecord) protective() bool {
	return slices.ContainsFunc(r[:], func(e bootEntry) bool { return e.kind == typeProtective && e.start == 1 })
}

// mentionsGPT is why msdos_partition leaves a record alone.
func (r bootRecord) mentionsGPT() bool {
	return slices.ContainsFunc(r[:], func(e bootEntry) bool { return e.kind == typeProtective })
}

// isTable tells a table with at least one partition from the boot code of a file system,
// which ends in the same two bytes: as in msdos_partition, the boot flags of that are
// junk.
func (r bootRecord) isTable() bool {
	junk := func(e bootEntry) bool { return e.flag != 0 && e.flag != 0x80 }
	used := func(e bootEntry) bool { return e.size != 0 }
	return !slices.ContainsFunc(r[:], junk) && slices.ContainsFunc(r[:], used)
}

// readMBRs reads the table for sectors of each size. An MBR does not tell the size; 512
// is what nearly every image means, unless only the other one leads to anything.
func readMBRs(v *view, boot bootRecord, sizes []int) (*table, error) {
	first, err := readMBR(v, boot, sizes[0])
	if err != nil || len(sizes) == 1 {
		return first, err
	}
	second, err := readMBR(v, boot, sizes[1])
	if err != nil || len(second.problems)+len(second.warnings) > 0 { // it does not fit
		return first, err
	}
	inFirst, err := first.known(v)
	if err != nil {
		return nil, err
	}
	inSecond, err := second.known(v)
	switch {
	case err != nil:
		return nil, err
	case inSecond == 0:
		return first, nil
	case inFirst == 0:
		return second, nil
	}
	// Needed: two kernels, on disks of either kind, would find different partitions.
	return &table{kind: "mbr", sector: sizes[0], problems: []Problem{{AnyVolume, refuse(hintSector,
		"the MBR can be read for sectors of %d and of %d bytes, and both lead to file systems", sizes[0], sizes[1])}}}, nil
}

func readMBR(v *view, boot bootRecord, sector int) (*table, error) {
	t := &table{kind: "mbr", sector: sector}
	t.reserve("the partition table", 0, 1)
	next := 5
	for i, e := range boot {
		switch {
		case e.size == 0:
		case e.isExtended():
			var err error
			if next, err = t.readExtended(v, i+1, e, next); err != nil {
				return nil, err
			}
		default:
			t.add(i+1, e.kind, uint64(e.start), uint64(e.size))
		}
	}
	t.check(v.dev.Size())
	return t, nil
}

func (t *table) add(number int, kind byte, start, size uint64) {
	s := int64(t.sector)
	t.volumes = append(t.volumes, Volume{ID: volume.Partition(number), Start: int64(start) * s, Size: int64(size) * s, Type: fmt.Sprintf("0x%02x", kind)})
}

const (
	maxEmptyRecords = 100 // parse_extended gives up after so many links without a partition
	maxNumber       = 255 // DISK_MAX_PARTS, less the disk itself
)

// readExtended follows the records of an extended partition as parse_extended of
// block/partitions/msdos.c does, and numbers its logical partitions from next on. A
// record that comes round again is a problem, and so are the partitions in such a ring.
func (t *table) readExtended(v *view, number int, whole bootEntry, next int) (int, error) {
	first, at, size := uint64(whole.start), uint64(whole.start), uint64(whole.size)
	seen := map[uint64]bool{}
	kept := len(t.volumes)
	for empty := 0; empty < maxEmptyRecords && next <= maxNumber; empty++ {
		if seen[at] {
			t.volumes = t.volumes[:kept]
			// Needed: where the chain ends depends on who follows it.
			t.problem(AnyVolume, hintOthers, "the logical partitions in partition %d form a ring", number)
			return next, nil
		}
		seen[at] = true
		record, ok, err := t.readRecord(v, at)
		if err != nil {
			return next, err
		}
		if !ok {
			t.warn("the logical partitions in partition %d go on at sector %d, where there is no table; the kernel stops there", number, at)
			return next, nil
		}
		t.reserve(fmt.Sprintf("the table of partition %d", next), at, 1)
		for i, e := range record {
			if e.size == 0 || e.isExtended() || next > maxNumber || i >= 2 && !e.liesIn(at, size, first, uint64(whole.size)) {
				continue
			}
			t.add(next, e.kind, at+uint64(e.start), uint64(e.size))
			next++
			empty = -1
		}
		link := slices.IndexFunc(record[:], func(e bootEntry) bool { return e.size != 0 && e.isExtended() })
		if link < 0 {
			return next, nil
		}
		at, size = first+uint64(record[link].start), uint64(record[link].size)
	}
	return next, nil
}

// liesIn is what entries 3 and 4 have to fulfil, which may be garbage.
func (e bootEntry) liesIn(at, size, first, whole uint64) bool {
	start, n := uint64(e.start), uint64(e.size)
	return start+n <= size && at+start >= first && at+start+n <= first+whole
}

// readRecord reads the table at a sector; there is none where the disk has ended.
func (t *table) readRecord(v *view, lba uint64) (r bootRecord, ok bool, err error) {
	at := int64(lba) * int64(t.sector)
	if at > v.dev.Size()-bootRecordSize {
		return r, false, nil
	}
	b := make([]byte, bootRecordSize)
	if err := block.ReadFull(v.dev, b, at); err != nil {
		return r, false, fmt.Errorf("reading the partition table at sector %d: %w", lba, err)
	}
	r = readBootRecord(b)
	return r, r != bootRecord{}, nil
}
