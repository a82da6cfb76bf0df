package disk

import (
	"fmt"
	"iter"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
)

// A Volume is bytes of a disk that may hold a file system: a partition, the whole disk
// when that has no partitions, or a logical volume. Start and Size are in bytes; all of it
// lies inside the disk.
type Volume struct {
	ID       volume.ID
	Start    int64 // of its first byte on the disk
	Size     int64
	Type     string        // GPT type GUID or MBR type byte ("0x83"); empty for others
	Name     string        // GPT partition name
	FS       string        // what it holds, by libblkid's names ("ext4", "crypto_LUKS"); empty if unknown
	Group    string        // of a physical volume: the volume group whose volumes were found
	Segments []block.Range // of a logical volume: where it lies on the disk
}

// ranges are where the volume lies on the disk.
func (v Volume) ranges() []block.Range {
	if v.Segments != nil {
		return v.Segments
	}
	return []block.Range{{Start: v.Start, End: v.Start + v.Size}}
}

// On gives the volume as a device. The disk is the one that it was found on, or a copy
// of that.
func (v Volume) On(disk block.Device) block.Device {
	return block.Join(disk, v.ID.Title(), v.ranges())
}

// Places gives a function that lists where n bytes at an offset lie on the disk, in the
// order of the volume.
func (v Volume) Places() func(off, n int64) iter.Seq[block.Range] {
	return block.Places(v.ranges())
}

// String names the volume and what it holds: "partition 2 (ext4)".
func (v Volume) String() string { return fmt.Sprintf("%s (%s)", v.ID.Title(), v.Kind()) }

// Kind is what the volume holds, for people.
func (v Volume) Kind() string {
	if v.FS == "" {
		return "unknown contents"
	}
	return v.FS
}
