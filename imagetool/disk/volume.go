package disk

import (
	"fmt"
	"slices"
	"strings"

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
func (v Volume) String() string {
	kind := v.FS
	if kind == "" {
		kind = "unknown contents"
	}
	return fmt.Sprintf("%s (%s)", v.title(), kind)
}

func (v Volume) title() string {
	if v.Number == 0 {
		return "the whole disk"
	}
	return fmt.Sprintf("partition %d", v.Number)
}

// fileless are types of partitions without files that IMA looks at: those of the
// UEFI specification (table 5.7), GRUB and the Discoverable Partitions
// Specification for a GPT, and those of an MBR.
var fileless = []string{
	"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef", // EFI system partition
	"21686148-6449-6E6F-744E-656564454649",         // BIOS boot: GRUB's code
	"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "0x82", // swap
}

// IsFileless reports whether the type says that there are no files to look for.
func (v Volume) IsFileless() bool {
	return slices.ContainsFunc(fileless, func(t string) bool { return strings.EqualFold(t, v.Type) })
}
