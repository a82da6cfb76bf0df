package imagetool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
)

// AnyPartition asks for every partition with an ext file system.
const AnyPartition = disk.AnyVolume

// A Selection is what a person says of an image.
type Selection struct {
	Partition  volume.ID   // the partition or logical volume that is meant, or AnyPartition
	LeaveOut   []volume.ID // those that are none of our business
	SectorSize int         // of the guest's disk; 0 to find out

	Format  container.Format // of the file; "" for what its name and its header say
	Backing []string         // the files that have what an overlay has not, in order
}

// All selects all that there is.
var All = Selection{Partition: AnyPartition}

// A LockMode says how much company an open image allows.
type LockMode = hostfile.LockMode

// See package hostfile.
const (
	ForReading = hostfile.ForReading
	ForCopying = hostfile.ForCopying
	ForWriting = hostfile.ForWriting
)

// An Image is a disk image and its file systems. It may be used by several
// goroutines at once.
type Image struct {
	Systems   []*FileSystem
	file      *hostfile.File
	container *container.Container
	disk      block.Device // what the guest sees: the file itself, if that is raw
	layout    *disk.Layout
	packed    string // how the file is compressed; "" if it is not
	selected  Selection
	closers   []func() error
}

// A FileSystem is one of the image's file systems.
type FileSystem struct {
	fsys.FileSystem
	Volume disk.Volume
	dev    block.Device // what it was opened on
}

// Probe opens an image and tells as much about it as can be known, also one that Open
// would not accept.
func Probe(ctx context.Context, path string, s Selection) (*Image, error) {
	return probe(ctx, path, s, ForReading)
}

func probe(ctx context.Context, path string, s Selection, mode LockMode) (*Image, error) {
	f, err := hostfile.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Image{file: f, disk: f, selected: s, closers: []func() error{f.Close}}
	if err := m.unwrap(ctx, mode); err != nil {
		return nil, errors.Join(m.orInUse(fmt.Errorf("%s: %w", path, err)), m.Close())
	}
	return m, nil
}

// Open opens an image, keeps writers away from it and opens its ext file
// systems: all that are not left out, or the one that was selected. That one is judged
// by itself, as far as it does not depend on the rest of the disk.
func Open(ctx context.Context, path string, s Selection, mode LockMode) (*Image, error) {
	m, err := probe(ctx, path, s, mode)
	if err != nil {
		return nil, err
	}
	if err = m.Refused(); err == nil {
		err = m.Lock(mode)
	} else {
		err = m.orInUse(err)
	}
	if err == nil && mode == ForWriting {
		if err = m.CheckInPlace(); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err == nil && mode != ForReading {
		err = m.CheckContainer(ctx)
	}
	if err == nil {
		err = m.openSystems(mode)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Refused is the reason why what was selected of the image is not used; nil if there is
// none that its layout tells.
func (m *Image) Refused() error {
	if refused := m.layout.Refused(m.selected.Partition, m.selected.LeaveOut...); refused != nil {
		return fmt.Errorf("%s: %w", m.Path(), refused)
	}
	for _, id := range m.selected.LeaveOut {
		if !m.layout.Has(id) {
			return &NoPartitionError{m.Path(), id, m.layout.Volumes}
		}
	}
	return nil
}

// Lock keeps others away from the image until Close, as the mode says.
func (m *Image) Lock(mode LockMode) error { return m.file.Lock(mode) }

// openSystems opens what was asked for. A copy is made to be written to, too.
func (m *Image) openSystems(mode LockMode) error {
	for _, v := range m.layout.Volumes {
		if Driver(v) == nil || !m.Covers(v.ID) {
			continue
		}
		s, err := m.OpenSystem(v)
		if err == nil && mode != ForReading {
			err = s.Writable()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path(), &VolumeError{v, err})
		}
		m.Systems = append(m.Systems, s)
	}
	if len(m.Systems) == 0 {
		return &NoFileSystemError{m.Path(), m.selected.Partition, m.layout.Volumes}
	}
	return nil
}

// Device is a volume as it lies in the image.
func (m *Image) Device(v disk.Volume) block.Device { return v.On(m.disk) }

// Describe tells what the superblock of a volume says.
func (m *Image) Describe(v disk.Volume) (*fsys.Info, error) { return Driver(v).Describe(v.On(m.disk)) }

// OpenSystem opens the file system of a volume.
func (m *Image) OpenSystem(v disk.Volume) (*FileSystem, error) { return openSystem(v, m.disk) }

// openSystem opens the file system of a volume on the disk that it was found on, or on
// a copy of that.
func openSystem(v disk.Volume, disk block.Device) (*FileSystem, error) {
	dev := v.On(disk)
	fs, err := Driver(v).Open(dev)
	if err != nil {
		return nil, err
	}
	return &FileSystem{fs, v, dev}, nil
}

// Path is the name under which the image was opened.
func (m *Image) Path() string { return m.file.Name() }

// Size is how many bytes the guest's disk has.
func (m *Image) Size() int64 { return m.disk.Size() }

// FileSize is how many bytes the file has that it lies in.
func (m *Image) FileSize() int64 { return m.file.Size() }

// Layout is what was found in the image.
func (m *Image) Layout() *disk.Layout { return m.layout }

// Covers reports whether a volume is among those that were asked for. A logical volume
// goes with each physical one that it lies on.
func (m *Image) Covers(id volume.ID) bool {
	within := func(other volume.ID) bool { return m.layout.Within(id, other) }
	chosen := m.selected.Partition
	return (chosen == AnyPartition || within(chosen)) && !slices.ContainsFunc(m.selected.LeaveOut, within)
}

// CheckOutput tells, without writing anything, whether a file made from the image may
// have this name.
func (m *Image) CheckOutput(out string, force bool) error {
	if err := output.Check(m.file, out, force); err != nil || m.container == nil {
		return err
	}
	target, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return m.container.CheckOutput(target)
}

// Close releases the image.
func (m *Image) Close() (err error) {
	for _, c := range slices.Backward(m.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// SHA256 digests the guest's disk as it is now.
func (m *Image) SHA256(ctx context.Context) ([]byte, error) { return digest(ctx, m.disk, m.Path()) }

func digest(ctx context.Context, dev block.Device, name string) ([]byte, error) {
	sum, err := block.Digest(ctx, dev)
	if err != nil {
		return nil, fmt.Errorf("digesting %s: %w", name, err)
	}
	return sum, nil
}
