package imagetool

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/output"
)

// A Copy is a copy of an image that gets labels and is not yet at its place. Commit or
// Abort ends it.
type Copy struct {
	image  *Image
	staged *output.Staged
}

// Copy makes a copy for this output. A force of true lets Commit replace what is there.
func (m *Image) Copy(ctx context.Context, out string, force bool, progress func(done int64)) (*Copy, error) {
	staged, err := output.Stage(ctx, m.file, out, force, progress)
	if err != nil {
		return nil, err
	}
	return &Copy{m, staged}, nil
}

// Tree gives the files of the copy, whose labels are written to the copy.
func (c *Copy) Tree(opt fsys.EditOptions) (*Tree, error) {
	t := &Tree{opt: opt, commit: c.write}
	for _, s := range c.image.Systems {
		copied, err := openSystem(s.Volume, c.staged.Device())
		if err != nil {
			return nil, fmt.Errorf("copy of %s: %s: %w", c.image.Path(), s.Volume, err)
		}
		t.systems = append(t.systems, copied)
	}
	return t, nil
}

func (c *Copy) write(ctx context.Context, all []*labels) error {
	for _, l := range all {
		if err := l.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SHA256 digests the copy as it is now.
func (c *Copy) SHA256(ctx context.Context) ([]byte, error) {
	return digest(ctx, c.staged.Device(), "the copy of "+c.image.Path())
}

// Commit puts the copy and what else belongs to it to their places, unless the image was
// changed meanwhile. A failure removes all of it; see output.Commit for what it may have
// replaced.
func (c *Copy) Commit(ctx context.Context, with ...*output.File) error {
	return c.staged.Commit(ctx, with...)
}

// Abort removes the copy because of an error, which it returns.
func (c *Copy) Abort(cause error) error { return errors.Join(cause, c.staged.Abort()) }
