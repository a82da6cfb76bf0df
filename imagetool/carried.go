package imagetool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vmseal/vmseal/imagetool/carry"
	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// A Carried is a container that gets labels itself: QEMU writes them to a copy, and what
// the finished copy has that the file has not is carried over to the file under an undo
// log. Commit or Abort ends it.
type Carried struct {
	image   *Image
	copy    *os.File // without a name; nil when it is closed
	disk    *container.Disk
	written bool // to the copy
	hold    func() (release func())
}

// CarryInto begins to change a container, which has to be open for writing. Nothing is
// written to it before Commit. For hold see InPlace.
func (m *Image) CarryInto(ctx context.Context, hold func() (release func()), progress func(done int64)) (*Carried, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	beside, err := filepath.EvalSymlinks(m.Path())
	if err != nil {
		return nil, err
	}
	copied, err := output.Scratch(beside)
	if err != nil {
		return nil, err
	}
	c := &Carried{image: m, copy: copied, hold: hold}
	if err := m.file.CopyTo(ctx, copied, progress); err != nil {
		return nil, c.Abort(fmt.Errorf("copying %s beside it: %w", m.Path(), err))
	}
	if c.disk, err = m.container.Scratch(copied); err != nil {
		return nil, c.Abort(err)
	}
	return c, nil
}

// CheckInPlace says why the image cannot be changed itself; nil if it can.
func (m *Image) CheckInPlace() error {
	const hint = "write a signed copy with --out"
	switch {
	case !m.InContainer():
		return nil
	case m.container.Convert != "":
		return &disk.RefusedError{Reason: "it cannot be changed in place: " + m.container.Convert, Hint: hint}
	case m.file.IsBlockDevice():
		return &disk.RefusedError{Reason: "it cannot be changed in place: a container may grow, and a block device cannot", Hint: hint}
	}
	return nil
}

// Tree gives the files of the image, whose labels are written to the copy.
func (c *Carried) Tree(opt fsys.EditOptions) (*Tree, error) {
	t, err := c.image.treeOn(c.disk, opt)
	if err != nil {
		return nil, err
	}
	t.commit = func(ctx context.Context, all []*labels) error {
		c.written = slices.ContainsFunc(all, func(l *labels) bool { return !l.tx.Empty() })
		if !c.written {
			return nil
		}
		return writeAll(ctx, all)
	}
	return t, nil
}

// SHA256 digests the disk in the copy as it is now.
func (c *Carried) SHA256(ctx context.Context) ([]byte, error) {
	return digest(ctx, c.disk, "the copy of "+c.image.Path())
}

// Commit carries over what was written, and puts what else belongs to it to its place;
// from there on the labels stand. A failure takes all of it back.
func (c *Carried) Commit(ctx context.Context, with ...*output.File) error {
	if !c.written {
		return c.Abort(output.Commit(ctx.Err, with...))
	}
	change, guard, err := c.plan(ctx)
	if err == nil {
		defer c.hold()()
		err = guard.Commit(c.image.file.Unchanged, []undo.Change{change})
	}
	if err != nil {
		return c.Abort(abortAll(err, with))
	}
	if err := output.Commit(ctx.Err, with...); err != nil {
		return c.Abort(guard.Undo(err))
	}
	return c.Abort(guard.Finish())
}

// plan finds what the finished copy has that the file has not.
func (c *Carried) plan(ctx context.Context) (*carry.Change, *undo.Guard, error) {
	m, finished := c.image, c.disk
	c.disk = nil
	if err := finished.Close(); err != nil {
		return nil, nil, fmt.Errorf("finishing the copy of %s: %w", m.Path(), err)
	}
	if err := m.checkCopy(ctx, c.copy); err != nil {
		return nil, nil, err
	}
	info, err := c.copy.Stat()
	if err != nil {
		return nil, nil, err
	}
	file, err := m.file.Growing()
	if err != nil {
		return nil, nil, err
	}
	log, err := output.UndoLogOf(m.Path())
	if err != nil {
		return nil, nil, err
	}
	change, err := carry.Compare(ctx, hostfile.Device(c.copy, info.Size()), m.file, m.container.Signature, file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	return change, &undo.Guard{Path: m.Path(), Size: m.FileSize(), Grown: change.Grown(), Log: log, Device: file}, nil
}

// abortAll removes files because of an error, which it returns.
func abortAll(err error, files []*output.File) error {
	for _, f := range files {
		err = errors.Join(err, f.Abort())
	}
	return err
}

// Abort gives up the copy because of an error, which it returns.
func (c *Carried) Abort(cause error) error {
	if c.disk != nil {
		c.disk.Abort()
		c.disk = nil
	}
	c.copy.Close()
	return cause
}
