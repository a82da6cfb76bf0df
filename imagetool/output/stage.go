package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
)

// A Staged is a copy of an image that is not yet at its place. Commit or Abort
// ends it.
type Staged struct {
	in  *hostfile.File
	out *File
}

// Check tells, without writing anything, whether the image may be staged for this
// output.
func Check(in *hostfile.File, out string, force bool) error {
	switch target, err := os.Stat(out); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		same, err := in.Is(target)
		if err != nil {
			return err
		}
		if same {
			return fmt.Errorf("output %s is the input image", out)
		}
	}
	if strings.HasSuffix(out, hostfile.UndoSuffix) {
		return fmt.Errorf("output %s has the name of an undo log", out)
	}
	return checkPlace(out, force)
}

// Stage copies the image to a hidden file in the folder of out, and its permissions
// with it. A force of true lets Commit replace what is at out.
func Stage(ctx context.Context, in *hostfile.File, out string, force bool, progress func(done int64)) (*Staged, error) {
	s, err := StageEmpty(in, out, force)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	if err := in.CopyTo(ctx, s.File(), progress); err != nil {
		return nil, errors.Join(fmt.Errorf("copying %s to %s: %w", in.Name(), out, err), s.Abort())
	}
	if err := in.Unchanged(); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	return s, nil
}

// StageEmpty is Stage for what is made of the image in another way than by copying it.
func StageEmpty(in *hostfile.File, out string, force bool) (*Staged, error) {
	if err := Check(in, out, force); err != nil {
		return nil, err
	}
	o, err := Create(out, 0o600, force)
	if err != nil {
		return nil, err
	}
	s := &Staged{in, o}
	if err := in.CopyMode(o.temp); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	return s, nil
}

// File is the hidden file that holds the copy.
func (s *Staged) File() *os.File { return s.out.temp }

// Device gives read and write access to the copy.
func (s *Staged) Device() block.Device { return hostfile.Device(s.out.temp, s.in.Size()) }

// Commit puts the copy and what else belongs to it to their places, unless the
// input was changed meanwhile. A failure removes all of it, as Commit of files does.
func (s *Staged) Commit(ctx context.Context, with ...*File) error {
	last := func() error {
		if err := s.in.Unchanged(); err != nil {
			return err
		}
		return ctx.Err()
	}
	return Commit(last, append([]*File{s.out}, with...)...)
}

// Abort removes the copy. After Commit it does nothing.
func (s *Staged) Abort() error { return s.out.Abort() }
