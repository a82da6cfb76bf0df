package imagetool

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/ext4"
)

// AnyPartition asks for every partition with an ext file system.
const AnyPartition = -1

// An Image is a disk image and its ext file systems. It may be used by several
// goroutines at once.
type Image struct {
	Disk    *disk.Image
	Systems []*FileSystem
	chosen  int // the number of a partition, or AnyPartition
}

// A FileSystem is one of the image's ext file systems.
type FileSystem struct {
	*ext4.FS
	Partition disk.Partition
}

// NoFileSystemError says that there is nothing to work on.
type NoFileSystemError struct {
	Path   string
	Number int              // the partition that was asked for, or AnyPartition
	Found  []disk.Partition // what is there
}

func (e *NoFileSystemError) Error() string {
	if len(e.Found) == 0 {
		return fmt.Sprintf("%s has no partition", e.Path)
	}
	var found []string
	for _, p := range e.Found {
		found = append(found, Describe(p))
	}
	if e.Number == AnyPartition {
		return fmt.Sprintf("%s has no ext2, ext3 or ext4 file system; it has %s", e.Path, strings.Join(found, ", "))
	}
	return fmt.Sprintf("%s has no partition %d with an ext2, ext3 or ext4 file system; it has %s",
		e.Path, e.Number, strings.Join(found, ", "))
}

// Describe names a partition and what it holds: "partition 2 (ext4)".
func Describe(p disk.Partition) string {
	kind := p.FS
	if kind == "" {
		kind = "unknown contents"
	}
	if p.Number == 0 {
		return fmt.Sprintf("the whole disk (%s)", kind)
	}
	return fmt.Sprintf("partition %d (%s)", p.Number, kind)
}

// Open opens an image, keeps writers away from it and opens its ext file
// systems: all of them, or the one in the partition with the given number.
func Open(path string, partition int, mode disk.LockMode) (*Image, error) {
	d, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	img := &Image{Disk: d, chosen: partition}
	if err := d.Lock(mode); err != nil {
		d.Close()
		return nil, err
	}
	if err := img.openSystems(); err != nil {
		d.Close()
		return nil, err
	}
	return img, nil
}

func (m *Image) openSystems() error {
	for _, p := range m.Disk.Partitions() {
		if !p.IsExt() || !m.covers(p.Number) {
			continue
		}
		fs, err := ext4.Open(p.Section(m.Disk), p.Size)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", m.Disk.Path(), Describe(p), err)
		}
		m.Systems = append(m.Systems, &FileSystem{fs, p})
	}
	if len(m.Systems) == 0 {
		return &NoFileSystemError{m.Disk.Path(), m.chosen, m.Disk.Partitions()}
	}
	return nil
}

// covers reports whether a partition is among those that were asked for.
func (m *Image) covers(number int) bool { return m.chosen == AnyPartition || m.chosen == number }

// PassedOver lists the partitions that may hold files which the image's trees do
// not have: those with another kind of file system, with something that hides one,
// or with unknown contents. None are passed over if one was chosen.
func (m *Image) PassedOver(ctx context.Context) ([]disk.Partition, error) {
	var list []disk.Partition
	for _, p := range m.Disk.Partitions() {
		if p.IsExt() || m.chosen != AnyPartition {
			continue
		}
		files, err := m.mayHaveFiles(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Disk.Path(), err)
		}
		if files {
			list = append(list, p)
		}
	}
	return list, nil
}

// mayHaveFiles goes by what a partition holds, and by its type only where that is
// unknown. An EFI partition and swap have no files that IMA looks at.
func (m *Image) mayHaveFiles(ctx context.Context, p disk.Partition) (bool, error) {
	switch p.FS {
	case "vfat", "swap":
		return false, nil
	case "":
		if p.IsFileless() {
			return false, nil
		}
		zero, err := m.Disk.IsZero(ctx, p)
		return !zero, err
	}
	return true, nil
}

// Close releases the image.
func (m *Image) Close() error { return m.Disk.Close() }
