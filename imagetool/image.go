package imagetool

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/fsys/extfs"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
)

// AnyPartition asks for every partition with an ext file system.
const AnyPartition = -1

// An Image is a disk image and its file systems. It may be used by several
// goroutines at once.
type Image struct {
	Systems []*FileSystem
	file    *hostfile.File
	layout  *disk.Layout
	chosen  int // the number of a partition, or AnyPartition
}

// A FileSystem is one of the image's file systems.
type FileSystem struct {
	fsys.FileSystem
	Volume disk.Volume
	dev    block.Device // what it was opened on
}

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

// Probe opens an image and tells as much about it as can be known. An image that
// Open would not accept is returned along with the reason.
func Probe(path string) (*Image, *disk.RefusedError, error) {
	f, err := hostfile.Open(path)
	if err != nil {
		return nil, nil, err
	}
	layout, refused, err := disk.Detect(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Image{file: f, layout: layout, chosen: AnyPartition}, refused, nil
}

// Open opens an image, keeps writers away from it and opens its ext file
// systems: all of them, or the one in the partition with the given number.
func Open(path string, partition int, mode hostfile.LockMode) (*Image, error) {
	m, refused, err := Probe(path)
	if err != nil {
		return nil, err
	}
	m.chosen = partition
	if refused != nil {
		err = fmt.Errorf("%s: %w", path, refused)
	} else if err = m.Lock(mode); err == nil {
		err = m.openSystems()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Lock keeps others away from the image until Close, as the mode says.
func (m *Image) Lock(mode hostfile.LockMode) error { return m.file.Lock(mode) }

func (m *Image) openSystems() error {
	for _, v := range m.layout.Volumes {
		if driver(v) == nil || !m.Covers(v.Number) {
			continue
		}
		s, err := openSystem(v, m.file)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", m.Path(), v, err)
		}
		m.Systems = append(m.Systems, s)
	}
	if len(m.Systems) == 0 {
		return &NoFileSystemError{m.Path(), m.chosen, m.layout.Volumes}
	}
	return nil
}

// drivers has all file systems that can be worked on, by what package disk calls them.
var drivers = map[string]fsys.Driver{
	"ext2": extfs.Driver{},
	"ext3": extfs.Driver{},
	"ext4": extfs.Driver{},
}

// driver is nil for a volume that holds anything else.
func driver(v disk.Volume) fsys.Driver { return drivers[v.FS] }

// openSystem opens the file system of a volume on the disk that it was found on, or on
// a copy of that.
func openSystem(v disk.Volume, disk block.Device) (*FileSystem, error) {
	dev := v.On(disk)
	fs, err := driver(v).Open(dev)
	if err != nil {
		return nil, err
	}
	return &FileSystem{fs, v, dev}, nil
}

// Path is the name under which the image was opened.
func (m *Image) Path() string { return m.file.Name() }

// Size is the image's size in bytes.
func (m *Image) Size() int64 { return m.file.Size() }

// Layout is what was found in the image.
func (m *Image) Layout() *disk.Layout { return m.layout }

// Covers reports whether a partition is among those that were asked for.
func (m *Image) Covers(number int) bool { return m.chosen == AnyPartition || m.chosen == number }

// CheckOutput tells, without writing anything, whether a file made from the image may
// have this name.
func (m *Image) CheckOutput(out string, force bool) error { return output.Check(m.file, out, force) }

// PassedOver lists the partitions that may hold files which the image's trees do
// not have: those with another kind of file system, with something that hides one,
// or with unknown contents. None are passed over if one was chosen.
func (m *Image) PassedOver(ctx context.Context) ([]disk.Volume, error) {
	var list []disk.Volume
	for _, v := range m.layout.Volumes {
		if driver(v) != nil || m.chosen != AnyPartition {
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

// Close releases the image.
func (m *Image) Close() error { return m.file.Close() }

// SHA256 digests the image as it is now.
func (m *Image) SHA256(ctx context.Context) ([]byte, error) {
	return digested{m.file, m.Path()}.SHA256(ctx)
}

// digested is a device, and what it is called where that goes wrong.
type digested struct {
	dev  block.Device
	name string
}

func (d digested) SHA256(ctx context.Context) ([]byte, error) {
	sum, err := block.Digest(ctx, d.dev)
	if err != nil {
		return nil, fmt.Errorf("digesting %s: %w", d.name, err)
	}
	return sum, nil
}
