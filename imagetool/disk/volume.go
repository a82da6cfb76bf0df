package disk

import (
	"fmt"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A Volume is a stretch of a disk that may hold a file system: a partition, or the
// whole disk (Number 0) when that has no partitions. Start and Size are in bytes and
// lie inside the disk.
type Volume struct {
	Number int
	Start  int64
	Size   int64
	Type   string // GPT type GUID or MBR type byte ("0x83"); empty for the whole disk
	Name   string // GPT partition name
	FS     string // what it holds, by libblkid's names ("ext4", "crypto_LUKS"); empty if unknown
}

// On gives the volume as a device. The disk is the one that it was found on, or a copy
// of that.
func (v Volume) On(disk block.Device) block.Device {
	return block.NewSection(disk, v.title(), v.Start, v.Size)
}

// String names the volume and what it holds: "partition 2 (ext4)".
func (v Volume) String() string { return fmt.Sprintf("%s (%s)", v.title(), v.Kind()) }

// Kind is what the volume holds, for people.
func (v Volume) Kind() string {
	if v.FS == "" {
		return "unknown contents"
	}
	return v.FS
}

func (v Volume) title() string {
	if v.Number == 0 {
		return "the whole disk"
	}
	return fmt.Sprintf("partition %d", v.Number)
}
