package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
)

// An inertKind is a kind of volume from which nothing can be executed. The type alone is
// a word that anybody can write into a table, and contents alone can be mounted under
// any type: both have to agree.
type inertKind struct {
	name  string
	types []string // of a GPT, and of an MBR
	holds func(in *view, kinds []string) bool
}

// inertKinds is closed: what is not here may have files that can be executed. The types
// are those of the UEFI specification (table 5.7), GRUB and the Discoverable Partitions
// Specification, and those for dm-verity beside them.
var inertKinds = []inertKind{
	{"swap", []string{"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "0x82"}, holdsOnly("swap")},
	{"EFI system partition", []string{"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef"}, holdsOnly("vfat")},
	{"BIOS boot partition", []string{"21686148-6449-6E6F-744E-656564454649"}, holdsCode},
	{"PReP boot partition", []string{"9E1A2D38-C612-4316-AA26-8B49521E5A8B", "0x41"}, holdsELF},
	{"Linux reserved partition", []string{"8DA63339-0007-60C0-C436-083AC8230908"}, holdsUnknown},
}

// Inert tells why nothing on a volume can be executed: "empty", or the kind that it is
// of by its type and by what it holds. It is "" where something may be.
func (v Volume) Inert(ctx context.Context, disk block.Device) (string, error) {
	dev := v.On(disk)
	if v.FS == "" {
		if zero, err := block.IsZero(ctx, dev); err != nil || zero {
			return "empty", err
		}
	}
	in, err := newView(dev, v.Start)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", v.ID.Title(), err)
	}
	kinds, err := in.found()
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", v.ID.Title(), err)
	}
	if v.ID.IsLogical() && holdsOnly("swap")(in, kinds) && isSwap(in) {
		return "swap", nil // LVM2 has no types
	}
	for _, k := range inertKinds {
		if slices.ContainsFunc(k.types, v.HasType) && k.holds(in, kinds) {
			return k.name, nil
		}
	}
	if t, ok := v.VerityType(); ok && t.holds(in, kinds) {
		return t.String(), nil
	}
	return "", nil
}

// HasType compares types, however they are written.
func (v Volume) HasType(t string) bool { return strings.EqualFold(t, v.Type) }

func holdsOnly(kind string) func(*view, []string) bool {
	return func(_ *view, kinds []string) bool { return len(kinds) == 1 && kinds[0] == kind }
}

// isSwap reports whether the first page is that of a swap area and has nothing else in
// it: union swap_header (include/linux/swap.h), as mkswap writes it.
func isSwap(in *view) bool {
	const (
		version   = 1024 // behind bootbits
		lastPage  = version + 4
		badPages  = version + 8
		padding   = version + 44 // behind sws_uuid and sws_volume
		signature = 10
	)
	page := bytes.Index(in.head, []byte("SWAPSPACE2")) + signature
	le, head := binary.LittleEndian, in.head
	return page >= 4<<10 && page&(page-1) == 0 &&
		block.AllZero(head[:version]) && block.AllZero(head[padding:page-signature]) &&
		le.Uint32(head[version:]) == 1 && le.Uint32(head[badPages:]) == 0 &&
		int64(le.Uint32(head[lastPage:])) < in.dev.Size()/int64(page)
}

func holdsUnknown(_ *view, kinds []string) bool { return len(kinds) == 0 }

// holdsCode is what a boot loader without a file system looks like: its code begins in
// the first sector, which the file systems that have no signature here leave empty.
func holdsCode(in *view, kinds []string) bool {
	return len(kinds) == 0 && !block.AllZero(in.head[:min(512, len(in.head))])
}

// holdsELF is for GRUB's core image of PowerPC, which firmware loads as a program.
func holdsELF(in *view, kinds []string) bool {
	return len(kinds) == 0 && bytes.HasPrefix(in.head, []byte("\x7fELF"))
}
