package imagetool

import (
	"errors"

	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/hostfile"
)

// unwrap finds out what lies in the file: a disk, or a container with one. What is
// refused of a container is a problem of the layout.
func (m *Image) unwrap() error {
	c, err := container.Open(m.file, m.selected.Format, m.selected.Backing)
	if refused, ok := errors.AsType[*disk.RefusedError](err); ok {
		m.layout = &disk.Layout{Format: string(c.Format), Table: "none", SectorSize: 512}
		if c.Format == "" {
			m.layout.Format = "unknown"
		}
		m.layout.Problems = []disk.Problem{{Volume: disk.AnyVolume, RefusedError: refused}}
		return nil
	}
	if err != nil {
		return err
	}
	m.container = c
	m.closers = append(m.closers, c.Close)
	if c.Format == container.Raw {
		return m.detect(m.selected.Format == container.Raw)
	}
	d, err := c.Disk()
	if err != nil {
		return err
	}
	m.disk, m.closers = d, append(m.closers, d.Abort)
	if err := m.detect(true); err != nil {
		return err
	}
	if m.layout.Format == "raw" {
		m.layout.Format = string(c.Format)
	}
	return nil
}

// detect looks at the disk. Bytes that are certain to be a disk's are not taken for a
// container.
func (m *Image) detect(certain bool) (err error) {
	detect := disk.Detect
	if certain {
		detect = disk.DetectRaw
	}
	m.layout, err = detect(m.disk, m.selected.SectorSize)
	return err
}

// InContainer reports whether the guest's disk is not the file itself.
func (m *Image) InContainer() bool { return m.container != nil && m.container.Format != container.Raw }

// Container is what the header of the file says; nil if that is not known.
func (m *Image) Container() *container.Header {
	if m.container == nil {
		return nil
	}
	return m.container.Header
}

// orInUse gives the better reason if there is one: while a guest runs, its image may look
// damaged.
func (m *Image) orInUse(err error) error {
	if inUse, ok := errors.AsType[*hostfile.InUseError](m.file.LockPending(hostfile.ForReading)); ok {
		return inUse
	}
	return err
}
