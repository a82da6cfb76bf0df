package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// fileless are types of partitions without files that IMA looks at: those of the
// UEFI specification (table 5.7), GRUB and the Discoverable Partitions
// Specification for a GPT, and those of an MBR.
var fileless = []string{
	"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef", // EFI system partition
	"21686148-6449-6E6F-744E-656564454649",         // BIOS boot: GRUB's code
	"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "0x82", // swap
}

// IsFileless reports whether the type says that there are no files to look for.
func (p Partition) IsFileless() bool {
	return slices.ContainsFunc(fileless, func(t string) bool { return strings.EqualFold(t, p.Type) })
}

// IsZero reports whether a partition of the image has nothing but zeros. It reads
// up to the first byte that is none, and no holes.
func (m *Image) IsZero(ctx context.Context, p Partition) (bool, error) {
	data := errors.New("not zero")
	err := readData(ctx, m.file, p.Start, p.Start+p.Size, func(b []byte, _ int64) error {
		if !allZero(b) {
			return data
		}
		return nil
	})
	if errors.Is(err, data) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading partition %d: %w", p.Number, err)
	}
	return true, nil
}
