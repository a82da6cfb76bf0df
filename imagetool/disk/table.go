package disk

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// A table is a decoded partition table.
type table struct {
	kind       string // "gpt", "mbr" or "none"
	sector     int
	partitions []Volume
}

// readTable decides between GPT, MBR and neither. A GPT counts only behind a
// protective MBR (is_pmbr_valid in block/partitions/efi.c), and a protective MBR
// only before a GPT; anything in between was damaged or relabelled.
func readTable(v *view) (table, *RefusedError, error) {
	none := table{kind: "none", sector: 512}
	boot, refused := readMBR(v)
	sectors := gptSectorSizes(v)
	switch {
	case len(sectors) == 0 && boot == nil:
		return none, nil, nil
	case len(sectors) > 1:
		return none, refuse(hintWipe, "there are two GPT headers, for sectors of 512 and of 4096 bytes"), nil
	case len(sectors) == 1 && (boot == nil || !boot.protective()):
		return none, refuse(hintWipe, "there is a GPT header without a protective MBR: one of the two is stale"), nil
	case len(sectors) == 0 && boot.protective():
		return none, refuse(hintRepair, "the MBR announces a GPT, but there is no GPT header"), nil
	case len(sectors) == 0:
		t := boot.table()
		if refused == nil {
			refused = checkPartitions(t.partitions, v.dev.Size())
		}
		return t, refused, nil
	case boot.hybrid():
		return table{kind: "gpt", sector: sectors[0]}, refuse(hintRepair, "a hybrid MBR describes the disk a second time beside the GPT"), nil
	}
	t, refused, err := readGPT(v, sectors[0])
	if refused == nil && err == nil {
		refused = checkPartitions(t.partitions, v.dev.Size())
	}
	return t, refused, err
}

// checkPartitions holds a table to the image: every partition inside it, none
// over another.
func checkPartitions(parts []Volume, size int64) *RefusedError {
	byStart := slices.SortedFunc(slices.Values(parts), func(a, b Volume) int { return cmp.Compare(a.Start, b.Start) })
	for i, p := range byStart {
		if p.Size <= 0 || p.Start <= 0 {
			return refuse(hintRepair, "partition %d has no extent", p.Number)
		}
		if p.Size > size || p.Start > size-p.Size {
			return refuse("the image may be cut off: compare its size with the original, or "+hintRepair,
				"the partition table lies: partition %d ends at byte %d, but the image has %d bytes",
				p.Number, uint64(p.Start)+uint64(p.Size), size)
		}
		if i > 0 && byStart[i-1].Start+byStart[i-1].Size > p.Start {
			return refuse(hintRepair, "partitions %d and %d overlap", byStart[i-1].Number, p.Number)
		}
	}
	return nil
}

// A memFile is what go-diskfs reads tables from.
type memFile struct{ *io.SectionReader }

func newMemFile(v *view) memFile { return memFile{io.NewSectionReader(v.dev, 0, v.dev.Size())} }

func (memFile) Stat() (fs.FileInfo, error) { return nil, fmt.Errorf("stat: %w", fs.ErrInvalid) }
func (memFile) Close() error               { return nil }

// oneLine is for the errors of other people's parsers.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
