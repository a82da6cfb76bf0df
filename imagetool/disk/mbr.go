package disk

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/diskfs/go-diskfs/partition/mbr"
)

// A bootRecord is a master boot record that describes at least one partition.
type bootRecord struct {
	entries []*mbr.Partition
}

// readMBR returns nil where sector 0 holds no partition table. As in
// msdos_partition (block/partitions/msdos.c), the signature alone is not enough:
// boot code of a file system ends in it too, and then the boot flags are junk. An
// error in reading cannot be taken for that, since the sector is in memory.
func readMBR(v *view) (*bootRecord, *RefusedError) {
	head := bytes.NewReader(v.head)
	t, err := mbr.Read(memFile{io.NewSectionReader(head, 0, head.Size())}, 512, 512)
	if err != nil {
		return nil, nil
	}
	var b bootRecord
	var refused *RefusedError
	for _, p := range t.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		if isExtended(p.Type) {
			refused = refuse("convert the table to GPT (sgdisk --mbrtogpt on a copy), or use primary partitions",
				"partition %d is an extended one: logical partitions are not supported", p.Index)
		}
		b.entries = append(b.entries, p)
	}
	if len(b.entries) == 0 {
		return nil, nil
	}
	return &b, refused
}

// isExtended is is_extended_partition of block/partitions/msdos.c.
func isExtended(t mbr.Type) bool {
	return t == mbr.ExtendedCHS || t == mbr.ExtendedLBA || t == mbr.LinuxExtended
}

func isProtective(p *mbr.Partition) bool { return p.Type == mbr.GPTProtective }

func (b *bootRecord) protective() bool { return slices.ContainsFunc(b.entries, isProtective) }

func (b *bootRecord) hybrid() bool { return b.protective() && len(b.entries) > 1 }

// table lists the primary partitions. An MBR does not tell its sector size; 512
// is what every raw image file means.
func (b *bootRecord) table() table {
	t := table{kind: "mbr", sector: 512}
	for _, p := range b.entries {
		t.partitions = append(t.partitions, Volume{
			Number: p.Index,
			Start:  int64(p.Start) * 512,
			Size:   int64(p.Size) * 512,
			Type:   fmt.Sprintf("0x%02x", byte(p.Type)),
		})
	}
	return t
}
