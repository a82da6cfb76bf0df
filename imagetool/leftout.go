package imagetool

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/disk"
)

// NoFileSystemError says that there is nothing to work on.
type NoFileSystemError struct {
	Path   string
	Volume volume.ID     // the one that was asked for, or AnyPartition
	Found  []disk.Volume // what is there
}

func (e *NoFileSystemError) Error() string {
	if len(e.Found) == 0 {
		return fmt.Sprintf("%s has no partition", e.Path)
	}
	if e.Volume == AnyPartition {
		return fmt.Sprintf("%s has no ext2, ext3 or ext4 file system; it has %s", e.Path, list(e.Found))
	}
	return fmt.Sprintf("%s has no %s with an ext2, ext3 or ext4 file system; it has %s",
		e.Path, e.Volume.Title(), list(e.Found))
}

func list(volumes []disk.Volume) string {
	var names []string
	for _, v := range volumes {
		names = append(names, v.String())
	}
	return strings.Join(names, ", ")
}

// NoPartitionError says that a partition was named that is not there.
type NoPartitionError struct {
	Path   string
	Volume volume.ID
	Found  []disk.Volume
}

func (e *NoPartitionError) Error() string {
	return fmt.Sprintf("%s has no %s; it has %s", e.Path, e.Volume.Title(), list(e.Found))
}

// LeftOut lists the volumes that the image's trees do not have, although something on
// them may be executed and nobody said that they are to be left out: those with another
// kind of file system, with something that hides one, or with unknown contents. None are
// left out so if one was chosen. A physical volume is not, if its logical ones are there.
func (m *Image) LeftOut(ctx context.Context) ([]disk.Volume, error) {
	var left []disk.Volume
	if m.selected.Partition != AnyPartition {
		return nil, nil
	}
	for _, v := range m.layout.Volumes {
		if Driver(v) != nil || v.Group != "" || !m.Covers(v.ID) {
			continue
		}
		inert, err := v.Inert(ctx, m.disk)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path(), err)
		}
		if inert == "" {
			left = append(left, v)
		}
	}
	return left, nil
}
