package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/vmseal/vmseal/imagetool/block"
)

// gptHeader is the GPT header of the UEFI specification, 5.3.2.
type gptHeader struct {
	Signature    [8]byte
	Revision     uint32
	HeaderSize   uint32
	HeaderCRC    uint32
	Reserved     uint32
	MyLBA        uint64
	AlternateLBA uint64
	FirstUsable  uint64
	LastUsable   uint64
	DiskGUID     [16]byte
	EntriesLBA   uint64
	Entries      uint32
	EntrySize    uint32
	EntriesCRC   uint32
}

const (
	gptHeaderSize = 92
	gptEntrySize  = 128     // sizeof(gpt_entry), the only size the kernel takes
	gptMaxEntries = 4 << 10 // 512 KiB of them; tools make 128
)

var gptSignature = []byte("EFI PART")

// gptSectorSizes lists the sector sizes at which LBA 1 bears GPT's signature.
func gptSectorSizes(v *view) (sizes []int) {
	for _, size := range []int{512, 4096} {
		if len(v.head) >= size+gptHeaderSize && bytes.HasPrefix(v.head[size:], gptSignature) {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// readGPT decodes a GPT. Sizes are checked first, since the decoder allocates and
// loops by them, and the backup header afterwards: a primary header that nothing
// confirms may be the remains of another disk's table.
func readGPT(v *view, sector int) (table, *RefusedError, error) {
	t := table{kind: "gpt", sector: sector}
	head := parseGPTHeader(v.head[sector:])
	if r := head.check(1, v.dev.Size(), sector); r != nil {
		return t, r, nil
	}
	decoded, err := gpt.Read(newMemFile(v), sector, sector)
	if err != nil {
		return t, refuse(hintRepair, "damaged GPT: %s", oneLine(err)), nil
	}
	if decoded.RecoveredFromBackup {
		return t, refuse(hintRepair, "the primary GPT does not match its checksums; only the backup at the end of the image is intact"), nil
	}
	if r, err := checkBackup(v, head, sector); r != nil || err != nil {
		return t, r, err
	}
	for _, p := range decoded.Partitions {
		if p.Start < head.FirstUsable || p.End > head.LastUsable || p.Start > p.End {
			return t, refuse(hintRepair, "the partition table lies: partition %d spans sectors %d to %d, but usable ones are %d to %d",
				p.Index, p.Start, p.End, head.FirstUsable, head.LastUsable), nil
		}
		t.partitions = append(t.partitions, Volume{
			Number: p.Index,
			Start:  int64(p.Start) * int64(sector),
			Size:   int64(p.End-p.Start+1) * int64(sector),
			Type:   string(p.Type),
			Name:   p.Name,
		})
	}
	return t, nil, nil
}

func parseGPTHeader(b []byte) (h gptHeader) {
	// The struct has a fixed size and b is long enough: this cannot fail.
	_, _ = binary.Decode(b[:gptHeaderSize], binary.LittleEndian, &h)
	return h
}

// check holds the header to the image, as is_gpt_valid does to the disk.
func (h *gptHeader) check(lba uint64, size int64, sector int) *RefusedError {
	sectors := uint64(size) / uint64(sector)
	entrySectors := (uint64(h.Entries)*gptEntrySize + uint64(sector) - 1) / uint64(sector)
	switch {
	case h.HeaderSize != gptHeaderSize:
		return refuse(hintRepair, "GPT header of %d bytes instead of %d", h.HeaderSize, gptHeaderSize)
	case h.EntrySize != gptEntrySize:
		return refuse(hintRepair, "GPT entries of %d bytes instead of %d", h.EntrySize, gptEntrySize)
	case h.Entries == 0 || h.Entries > gptMaxEntries:
		return refuse(hintRepair, "GPT with room for %d partitions", h.Entries)
	case h.MyLBA != lba:
		return refuse(hintRepair, "the GPT header at sector %d says that it lies at sector %d", lba, h.MyLBA)
	case h.FirstUsable > h.LastUsable || h.FirstUsable < 2+entrySectors:
		return refuse(hintRepair, "GPT with usable sectors %d to %d", h.FirstUsable, h.LastUsable)
	case h.LastUsable >= sectors || h.AlternateLBA >= sectors || sectors > math.MaxInt64/uint64(sector):
		return refuse("the image may be cut off: compare its size with the original, or "+hintRepair,
			"the partition table lies: it describes a disk of %d sectors, but the image has %d",
			max(h.LastUsable, h.AlternateLBA)+1, sectors)
	case h.EntriesLBA < 2 || h.EntriesLBA > sectors-entrySectors:
		return refuse(hintRepair, "GPT entries at sector %d", h.EntriesLBA)
	case lba == 1 && h.EntriesLBA+entrySectors > h.FirstUsable:
		return refuse(hintRepair, "GPT entries at sector %d reach into the partitions", h.EntriesLBA)
	}
	return nil
}

// checkBackup compares the backup header and its entries with the primary. Where
// the image has grown since it was partitioned, the backup is not at its end, but
// still where the primary says.
func checkBackup(v *view, primary gptHeader, sector int) (*RefusedError, error) {
	raw := make([]byte, gptHeaderSize)
	if err := block.ReadFull(v.dev, raw, int64(primary.AlternateLBA)*int64(sector)); err != nil {
		return nil, fmt.Errorf("reading the backup GPT header: %w", err)
	}
	backup := parseGPTHeader(raw)
	clear(raw[16:20])
	if !bytes.Equal(backup.Signature[:], gptSignature) || crc32.ChecksumIEEE(raw) != backup.HeaderCRC {
		return refuse(hintRepair, "there is no valid backup GPT header at sector %d, where the primary has it", primary.AlternateLBA), nil
	}
	if r := backup.check(primary.AlternateLBA, v.dev.Size(), sector); r != nil {
		return refuse(r.Hint, "backup GPT: %s", r.Reason), nil
	}
	same := primary
	same.MyLBA, same.AlternateLBA = backup.MyLBA, 1
	same.EntriesLBA, same.HeaderCRC = backup.EntriesLBA, backup.HeaderCRC
	if backup != same {
		return refuse(hintRepair, "the backup GPT header contradicts the primary"), nil
	}
	entries := make([]byte, backup.Entries*gptEntrySize)
	if err := block.ReadFull(v.dev, entries, int64(backup.EntriesLBA)*int64(sector)); err != nil {
		return nil, fmt.Errorf("reading the backup GPT entries: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != backup.EntriesCRC {
		return refuse(hintRepair, "the backup GPT entries do not match their checksum"), nil
	}
	return nil, nil
}
