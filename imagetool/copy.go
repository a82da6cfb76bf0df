package imagetool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/output"
)

// A Copy is a copy of an image that gets labels and is not yet at its place. Commit or
// Abort ends it.
type Copy struct {
	image  *Image
	staged *output.Staged
	disk   *container.Disk // that of a container, which writes to the copy; nil for a raw image
	// finish makes the copy of what was written beside it; nil if it has all of it.
	finish func(context.Context) error
	beside *os.File
}

// Copy makes a copy for this output. A force of true lets Commit replace what is there.
// The copy of a container has the same options, and the same backing files. One that
// cannot be written to is made anew by Commit, of the same kind.
func (m *Image) Copy(ctx context.Context, out string, force bool, progress func(done int64)) (*Copy, error) {
	if m.InContainer() && m.container.Convert != "" {
		return m.copyAnew(ctx, out, force)
	}
	staged, err := output.Stage(ctx, m.file, out, force, progress)
	if err != nil {
		return nil, err
	}
	c := &Copy{image: m, staged: staged}
	if m.InContainer() {
		if c.disk, err = m.container.Scratch(staged.File()); err != nil {
			return nil, c.Abort(err)
		}
	}
	return c, nil
}

// copyAnew lets the labels be written to a file beside the image, of which and of the
// image the copy is made in the end.
func (m *Image) copyAnew(ctx context.Context, out string, force bool) (*Copy, error) {
	staged, err := output.StageEmpty(m.file, out, force)
	if err != nil {
		return nil, err
	}
	c := &Copy{image: m, staged: staged}
	if c.beside, err = output.Scratch(out); err != nil {
		return nil, c.Abort(err)
	}
	if c.disk, err = m.container.Overlay(ctx, c.beside); err != nil {
		return nil, c.Abort(err)
	}
	c.finish = func(ctx context.Context) error {
		return m.container.Rewrite(ctx, c.beside, staged.File(), out)
	}
	return c, nil
}

func (c *Copy) device() block.Device {
	if c.disk != nil {
		return c.disk
	}
	return c.staged.Device()
}

// Tree gives the files of the copy, whose labels are written to the copy.
func (c *Copy) Tree(opt fsys.EditOptions) (*Tree, error) {
	return c.image.treeOn(c.device(), opt)
}

// treeOn gives the files of a copy of the disk, whose labels are written to the copy.
func (m *Image) treeOn(disk block.Device, opt fsys.EditOptions) (*Tree, error) {
	t := &Tree{opt: opt, commit: writeAll}
	for _, s := range m.Systems {
		copied, err := openSystem(s.Volume, disk)
		if err != nil {
			return nil, fmt.Errorf("copy of %s: %w", m.Path(), &VolumeError{s.Volume, err})
		}
		t.systems = append(t.systems, copied)
	}
	return t, nil
}

func writeAll(ctx context.Context, all []*labels) error {
	for _, l := range all {
		if err := l.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SHA256 digests the disk in the copy as it is now.
func (c *Copy) SHA256(ctx context.Context) ([]byte, error) {
	return digest(ctx, c.device(), "the copy of "+c.image.Path())
}

// Commit puts the copy and what else belongs to it to their places, unless the image was
// changed meanwhile. A failure removes all of it; see output.Commit for what it may have
// replaced.
func (c *Copy) Commit(ctx context.Context, with ...*output.File) error {
	if err := c.complete(ctx); err != nil {
		return c.Abort(abortAll(err, with))
	}
	if c.beside != nil {
		c.beside.Close()
	}
	return c.staged.Commit(ctx, with...)
}

// complete has all that was written in the file of the copy.
func (c *Copy) complete(ctx context.Context) error {
	if c.disk == nil {
		return nil
	}
	disk := c.disk
	c.disk = nil
	if err := disk.Close(); err != nil {
		return fmt.Errorf("finishing the copy of %s: %w", c.image.Path(), err)
	}
	if c.finish != nil {
		if err := c.finish(ctx); err != nil {
			return err
		}
	}
	return c.image.checkCopy(ctx, c.staged.File())
}

// checkCopy looks at what QEMU has made of the image.
func (m *Image) checkCopy(ctx context.Context, file *os.File) error {
	if err := m.container.CheckCopy(ctx, file); err != nil {
		return fmt.Errorf("the finished copy of %s: %w", m.Path(), err)
	}
	return nil
}

// Abort removes the copy because of an error, which it returns.
func (c *Copy) Abort(cause error) error {
	if c.disk != nil {
		c.disk.Abort()
	}
	if c.beside != nil {
		c.beside.Close()
	}
	return errors.Join(cause, c.staged.Abort())
}
