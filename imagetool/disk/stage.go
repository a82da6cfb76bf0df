package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Staged is a copy of an image that is not yet at its place. Commit or Abort
// ends it.
type Staged struct {
	in  *Image
	out *Output
}

// CheckOutput tells, without writing anything, whether the image may be staged
// for this output.
func CheckOutput(in *Image, out string, force bool) error {
	input, err := in.file.Stat()
	if err != nil {
		return err
	}
	switch target, err := os.Stat(out); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && os.SameFile(input, target):
		return fmt.Errorf("output %s is the input image", out)
	}
	if strings.HasSuffix(out, UndoSuffix) {
		return fmt.Errorf("output %s has the name of an undo log", out)
	}
	return checkPlace(out, force)
}

// Stage copies the image to a hidden file in the folder of out, and its permissions
// with it. A force of true
// lets Commit replace what is at out.
func Stage(ctx context.Context, in *Image, out string, force bool, progress func(done int64)) (*Staged, error) {
	if err := CheckOutput(in, out, force); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	o, err := CreateOutput(out, 0o600, force)
	if err != nil {
		return nil, err
	}
	s := &Staged{in, o}
	if err := copyImage(ctx, o.File(), in.file, in.size, progress); err != nil {
		return nil, errors.Join(fmt.Errorf("copying %s to %s: %w", in.path, out, err), s.Abort())
	}
	if err := s.finishCopy(); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	return s, nil
}

func (s *Staged) finishCopy() error {
	if !s.in.isBlockDevice() {
		if err := s.out.File().Chmod(os.FileMode(s.in.stat.Mode & 0o777)); err != nil {
			return err
		}
	}
	return s.in.Unchanged()
}

// Device gives read and write access to one partition of the copy.
func (s *Staged) Device(p Partition) *Device { return &Device{s.out.File(), p.Start, p.Size} }

// SHA256 digests the copy as it is now.
func (s *Staged) SHA256(ctx context.Context) ([]byte, error) {
	sum, err := digest(ctx, s.out.File(), s.in.size)
	if err != nil {
		return nil, fmt.Errorf("digesting the copy of %s: %w", s.in.path, err)
	}
	return sum, nil
}

// Commit puts the copy and what else belongs to it to their places, unless the
// input was changed meanwhile. A failure removes all of it, as Commit of outputs
// does.
func (s *Staged) Commit(ctx context.Context, with ...*Output) error {
	last := func() error {
		if err := s.in.Unchanged(); err != nil {
			return err
		}
		return ctx.Err()
	}
	return Commit(last, append([]*Output{s.out}, with...)...)
}

// Abort removes the copy. After Commit it does nothing.
func (s *Staged) Abort() error { return s.out.Abort() }

// Unchanged compares the image with what it was when it was opened, as far as a
// file's times show it. A block device has none that follow its contents.
func (m *Image) Unchanged() error {
	var open, named unix.Stat_t
	if err := unix.Fstat(int(m.file.Fd()), &open); err != nil {
		return &os.PathError{Op: "stat", Path: m.path, Err: err}
	}
	if err := unix.Stat(m.path, &named); err != nil {
		return &os.PathError{Op: "stat", Path: m.path, Err: err}
	}
	old := &m.stat
	same := named.Dev == open.Dev && named.Ino == open.Ino
	if !m.isBlockDevice() {
		same = same && open.Size == old.Size && open.Mtim == old.Mtim && open.Ctim == old.Ctim
	}
	if !same {
		return fmt.Errorf("%s was changed while it was being read", m.path)
	}
	return nil
}
