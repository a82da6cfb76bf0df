package imagetool

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/disk"
)

// NoFileSystemError says that there is nothing to work on.
type NoFileSystemError struct {
	Path   string
	Number int           // the partition that was asked for, or AnyPartition
	Found  []disk.Volume // what is there
}

func (e *NoFileSystemError) Error() string {
	if len(e.Found) == 0 {
		return fmt.Sprintf("%s has no partition", e.Path)
	}
	var found []string
	for _, v := range e.Found {
		found = append(found, v.String())
	}
	if e.Number == AnyPartition {
		return fmt.Sprintf("%s has no ext2, ext3 or ext4 file system; it has %s", e.Path, strings.Join(found, ", "))
	}
	return fmt.Sprintf("%s has no partition %d with an ext2, ext3 or ext4 file system; it has %s",
		e.Path, e.Number, strings.Join(found, ", "))
}

// PassedOver lists the partitions that may hold files which the image's trees do
// not have: those with another kind of file system, with something that hides one,
// or with unknown contents. None are passed over if one was chosen.
func (m *Image) PassedOver(ctx context.Context) ([]disk.Volume, error) {
	var list []disk.Volume
	for _, v := range m.layout.Volumes {
		if Driver(v) != nil || m.chosen != AnyPartition {
			continue
		}
		files, err := m.mayHaveFiles(ctx, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path(), err)
		}
		if files {
			list = append(list, v)
		}
	}
	return list, nil
}

// mayHaveFiles goes by what a partition holds, and by its type only where that is
// unknown. An EFI partition and swap have no files that IMA looks at.
func (m *Image) mayHaveFiles(ctx context.Context, v disk.Volume) (bool, error) {
	switch v.FS {
	case "vfat", "swap":
		return false, nil
	case "":
		if v.IsFileless() {
			return false, nil
		}
		zero, err := block.IsZero(ctx, v.On(m.file))
		return !zero, err
	}
	return true, nil
}
