package imagetool

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/unpack"
)

// unwrap finds out what lies in the file: a disk, a container with one, or a disk that is
// compressed. What is refused of it is a problem of the layout.
func (m *Image) unwrap(ctx context.Context, mode LockMode) error {
	if m.selected.Format == "" {
		var err error
		if m.packed, err = unpack.Method(m.file); err != nil {
			return err
		}
	}
	switch {
	case m.packed == "":
		return m.unwrapContainer()
	case mode == ForReading:
		return m.unpack(ctx)
	}
	return m.detect(false) // which refuses it
}

func (m *Image) unpack(ctx context.Context) error {
	d, err := unpack.Open(ctx, m.file, m.packed)
	if err != nil {
		return err
	}
	m.disk, m.closers = d, append(m.closers, d.Close)
	return m.detect(false)
}

// CheckUnpacked says why the image can only be read; nil if it can be signed.
func (m *Image) CheckUnpacked() error {
	if m.packed == "" {
		return nil
	}
	return &disk.RefusedError{Reason: "it is compressed (" + m.packed + "), and can only be read", Hint: disk.Advice(m.packed)}
}

func (m *Image) unwrapContainer() error {
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

// CheckContainer refuses a container that is damaged. To read it does no harm.
func (m *Image) CheckContainer(ctx context.Context) error {
	if !m.InContainer() {
		return nil
	}
	if err := m.container.Check(ctx); err != nil {
		return fmt.Errorf("%s: %w", m.Path(), err)
	}
	return nil
}

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
