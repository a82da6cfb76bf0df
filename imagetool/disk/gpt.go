package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/vmseal/vmseal/formats/volume"
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
	gptCRC        = 16                     // offset of HeaderCRC
	gptEntrySize  = 128                    // sizeof(gpt_entry), the only size the kernel takes
	gptMaxEntries = 4 << 20 / gptEntrySize // as many as KMALLOC_MAX_SIZE holds
)

var gptSignature = []byte("EFI PART")

// A gptCopy is a primary or backup GPT that the kernel takes.
type gptCopy struct {
	header  gptHeader
	sector  int
	entries []byte
}

// An invalidError says why the kernel does not take a GPT.
type invalidError struct {
	reason string
	cut    bool // as if the end of the image were missing
}

func (e *invalidError) Error() string { return e.reason }

func invalid(format string, args ...any) error {
	return &invalidError{reason: fmt.Sprintf(format, args...)}
}

// readGPT reads the GPT whose header lies at a sector and checks what is_gpt_valid of
// block/partitions/efi.c does. It is an *invalidError if that would not take it.
func readGPT(v *view, lba uint64, sector int) (*gptCopy, error) {
	sectors := uint64(v.dev.Size()) / uint64(sector)
	if lba >= sectors {
		return nil, invalid("sector %d lies behind the end of the image", lba)
	}
	raw := make([]byte, sector)
	if err := block.ReadFull(v.dev, raw, int64(lba)*int64(sector)); err != nil {
		return nil, fmt.Errorf("reading the GPT header at sector %d: %w", lba, err)
	}
	g := &gptCopy{sector: sector}
	// The struct has a fixed size and raw is long enough: this cannot fail.
	_, _ = binary.Decode(raw, binary.LittleEndian, &g.header)
	if err := g.header.check(raw, lba, sectors); err != nil {
		return nil, err
	}
	g.entries = make([]byte, g.header.Entries*gptEntrySize)
	if err := block.ReadFull(v.dev, g.entries, int64(g.header.EntriesLBA)*int64(sector)); err != nil {
		return nil, fmt.Errorf("reading the GPT entries at sector %d: %w", g.header.EntriesLBA, err)
	}
	if crc32.ChecksumIEEE(g.entries) != g.header.EntriesCRC {
		return nil, invalid("the entries do not match their checksum")
	}
	return g, nil
}

func (h *gptHeader) check(raw []byte, lba, sectors uint64) error {
	size, sector := uint64(h.Entries)*gptEntrySize, uint64(len(raw))
	entrySectors := (size + sector - 1) / sector
	switch {
	case !bytes.Equal(h.Signature[:], gptSignature):
		return invalid("there is no GPT header at sector %d", lba)
	case h.HeaderSize < gptHeaderSize || uint64(h.HeaderSize) > sector:
		return invalid("the header has %d bytes", h.HeaderSize)
	case headerCRC(raw[:h.HeaderSize]) != h.HeaderCRC:
		return invalid("the header does not match its checksum")
	case h.MyLBA != lba:
		return invalid("the header at sector %d says that it lies at sector %d", lba, h.MyLBA)
	case h.FirstUsable >= sectors || h.LastUsable >= sectors:
		return &invalidError{fmt.Sprintf("it describes a disk of at least %d sectors, but the image has %d", max(h.FirstUsable, h.LastUsable)+1, sectors), true}
	case h.LastUsable < h.FirstUsable:
		return invalid("its usable sectors are %d to %d", h.FirstUsable, h.LastUsable)
	case h.EntrySize != gptEntrySize:
		return invalid("it has entries of %d bytes", h.EntrySize)
	case h.Entries == 0 || h.Entries > gptMaxEntries:
		return invalid("it has room for %d partitions", h.Entries)
	case h.EntriesLBA > sectors || entrySectors > sectors-h.EntriesLBA:
		return invalid("its entries at sector %d lie behind the end of the image", h.EntriesLBA)
	}
	return nil
}

func headerCRC(raw []byte) uint32 {
	raw = bytes.Clone(raw)
	clear(raw[gptCRC:][:4])
	return crc32.ChecksumIEEE(raw)
}

// hasGPT reports whether there is the signature of a GPT for sectors of this size.
func hasGPT(v *view, sector int) bool {
	return len(v.head) >= sector+len(gptSignature) && bytes.HasPrefix(v.head[sector:], gptSignature)
}

// anyGPT reports whether there is a GPT that the kernel would take if the MBR let it.
func anyGPT(v *view, sizes []int) (bool, error) {
	for _, sector := range sizes {
		_, err := readGPT(v, 1, sector)
		if _, ok := err.(*invalidError); err != nil && !ok {
			return false, err
		}
		if err == nil {
			return true, nil
		}
	}
	return false, nil
}

// readGPTs reads the GPT behind a protective MBR: that for sectors of 512 or for such of
// 4096 bytes.
func readGPTs(v *view, boot bootRecord, sizes []int) (*table, error) {
	var tables []*table
	var why error
	for _, sector := range sizes {
		g, err := readGPT(v, 1, sector)
		if _, ok := err.(*invalidError); ok {
			if why == nil || hasGPT(v, sector) {
				why = err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		t, err := g.table(v, boot)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	switch {
	case len(tables) == 0:
		return brokenGPT(v, sizes, why)
	case len(tables) > 1 && !sameVolumes(tables[0], tables[1]):
		t := &table{kind: "gpt", sector: tables[0].sector}
		// Needed: two kernels, on disks of either kind, would find different partitions.
		t.problem(AnyVolume, hintSector, "there are two GPTs, for sectors of 512 and of 4096 bytes, and they differ")
		return t, nil
	}
	return tables[0], nil
}

// brokenGPT is for a protective MBR without a primary GPT, which the kernel takes for an
// empty disk, whatever the backup says.
func brokenGPT(v *view, sizes []int, why error) (*table, error) {
	for _, sector := range sizes {
		_, err := readGPT(v, uint64(v.dev.Size())/uint64(sector)-1, sector)
		if _, ok := err.(*invalidError); err != nil && !ok {
			return nil, err
		}
		if err == nil {
			hint := hintRestore
			if sector != sectorSizes[0] { // which sgdisk takes for granted in a file
				hint = ""
			}
			return &table{kind: "none", unread: refuse(hint, "the primary GPT is damaged (%v): only the backup at the end of the image is intact", why)}, nil
		}
	}
	hint := ""
	if e, ok := why.(*invalidError); ok && e.cut {
		hint = hintCut
	}
	return &table{kind: "none", unread: refuse(hint, "the MBR announces a GPT, but there is none that the kernel takes: %v", why)}, nil
}

// table decodes the entries.
func (g *gptCopy) table(v *view, boot bootRecord) (*table, error) {
	t := &table{kind: "gpt", sector: g.sector}
	t.reserve("the MBR and the header of the GPT", 0, 2)
	t.reserve("the entries of the GPT", g.header.EntriesLBA, g.entrySectors())
	if err := g.checkBackup(v, t); err != nil {
		return nil, err
	}
	partitions, err := g.decode()
	if err != nil {
		// Needed: nobody else reads these bytes for us.
		t.problem(AnyVolume, "", "damaged GPT: %s", oneLine(err))
		return t, nil
	}
	s, last := uint64(g.sector), uint64(v.dev.Size())/uint64(g.sector)-1
	for _, p := range partitions {
		id := volume.Partition(p.Index)
		switch {
		case p.Start > last || p.End > last: // is_pte_valid
			// Needed: the kernel makes no such partition (is_pte_valid).
			t.problem(id, hintCut+"; "+hintLeaveOut(id), "the partition table lies: partition %d spans sectors %d to %d, but the image has %d", p.Index, p.Start, p.End, last+1)
			continue
		case p.Start > p.End:
			// Needed: the kernel would make a partition of a negative size, and refuses.
			t.problem(id, hintLeaveOut(id), "partition %d spans sectors %d to %d", p.Index, p.Start, p.End)
			continue
		case p.Start < g.header.FirstUsable || p.End > g.header.LastUsable:
			t.warn("partition %d spans sectors %d to %d, but usable ones are %d to %d", p.Index, p.Start, p.End, g.header.FirstUsable, g.header.LastUsable)
		}
		t.volumes = append(t.volumes, Volume{
			ID: id, Start: int64(p.Start * s), Size: int64((p.End - p.Start + 1) * s), Type: string(p.Type), Name: p.Name,
		})
	}
	t.check(v.dev.Size())
	t.checkHybrid(boot)
	return t, nil
}

func (g *gptCopy) entrySectors() uint64 {
	return (uint64(len(g.entries)) + uint64(g.sector) - 1) / uint64(g.sector)
}

// decode gives go-diskfs the copy alone: in the only form that it takes, at the
// beginning of a disk, and behind checks that it does not make.
func (g *gptCopy) decode() ([]*gpt.Partition, error) {
	h := g.header
	h.Revision, h.HeaderSize, h.Reserved, h.MyLBA, h.EntriesLBA = 1<<16, gptHeaderSize, 0, 1, 2
	raw := make([]byte, 2*g.sector, 2*g.sector+len(g.entries))
	at := raw[g.sector:]
	_, _ = binary.Encode(at, binary.LittleEndian, h) // at is long enough
	binary.LittleEndian.PutUint32(at[gptCRC:], headerCRC(at[:gptHeaderSize]))
	raw = append(raw, g.entries...)
	t, err := gpt.Read(memFile{io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw)))}, g.sector, g.sector)
	if err != nil {
		return nil, err
	}
	return t.Partitions, nil
}

// checkBackup compares the backup with the primary, by which the kernel goes in any
// case. Where the image has grown since it was partitioned, the backup is not at its
// end, but still where the primary says.
func (g *gptCopy) checkBackup(v *view, t *table) error {
	backup, err := readGPT(v, g.header.AlternateLBA, g.sector)
	if _, ok := err.(*invalidError); ok {
		t.warn("the backup of the GPT is missing or damaged (%v); the kernel goes by the primary", err)
		return nil
	}
	if err != nil {
		return err
	}
	same := g.header
	same.MyLBA, same.AlternateLBA = backup.header.MyLBA, g.header.MyLBA
	same.EntriesLBA, same.HeaderCRC = backup.header.EntriesLBA, backup.header.HeaderCRC
	if backup.header != same {
		t.warn("the backup of the GPT is not that of the primary; the kernel goes by the primary")
		return nil
	}
	t.reserve("the backup of the GPT", backup.header.MyLBA, 1)
	t.reserve("the backup of the GPT's entries", backup.header.EntriesLBA, backup.entrySectors())
	return nil
}

// checkHybrid looks for partitions that a hybrid MBR has beside the protective one. The
// kernel goes by the GPT; others, such as firmware, may go by the MBR.
func (t *table) checkHybrid(boot bootRecord) {
	for i, e := range boot {
		if e.kind == typeProtective || e.kind == 0 || e.size == 0 {
			continue
		}
		start, size := int64(e.start)*int64(t.sector), int64(e.size)*int64(t.sector)
		if !slices.ContainsFunc(t.volumes, func(v Volume) bool { return v.Start == start && v.Size == size }) {
			t.warn("the hybrid MBR has a partition at entry %d that the GPT does not have; the kernel goes by the GPT", i+1)
		}
	}
}
