package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrOutputExists says that the output is there already and may not be replaced.
var ErrOutputExists = errors.New("output file exists")

// A Staged is a copy of an image that is not yet at its place. Exactly one of
// Commit and Abort ends it; after Commit, Abort does nothing.
type Staged struct {
	in    *Image
	out   string
	force bool
	temp  *os.File // nil once it is committed or aborted
}

// CheckOutput tells, without writing anything, whether the image may be staged
// for this output.
func CheckOutput(in *Image, out string, force bool) error {
	info, err := os.Lstat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return checkFolder(out)
	}
	if err != nil {
		return err
	}
	if target, err := os.Stat(out); err == nil {
		if input, err := in.file.Stat(); err != nil {
			return err
		} else if os.SameFile(input, target) {
			return fmt.Errorf("output %s is the input image", out)
		}
	}
	if !force {
		return fmt.Errorf("%s: %w", out, ErrOutputExists)
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("output %s is there and not a regular file", out)
	}
	return nil
}

func checkFolder(out string) error {
	dir := filepath.Dir(out)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	return nil
}

// Stage copies the image to a hidden file in the folder of out. A force of true
// lets Commit replace what is at out.
func Stage(ctx context.Context, in *Image, out string, force bool, progress func(done int64)) (*Staged, error) {
	if err := CheckOutput(in, out, force); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	temp, err := os.CreateTemp(filepath.Dir(out), ".vmseal-*.tmp")
	if err != nil {
		return nil, err
	}
	s := &Staged{in: in, out: out, force: force, temp: temp}
	if err := copyImage(ctx, temp, in.file, in.size, progress); err != nil {
		return nil, errors.Join(fmt.Errorf("copying %s to %s: %w", in.path, filepath.Dir(out), err), s.Abort())
	}
	if err := in.Unchanged(); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	return s, nil
}

func (s *Staged) ReadAt(p []byte, off int64) (int, error)  { return s.temp.ReadAt(p, off) }
func (s *Staged) WriteAt(p []byte, off int64) (int, error) { return s.temp.WriteAt(p, off) }

// Device gives read and write access to one partition of the copy.
func (s *Staged) Device(p Partition) *Device { return &Device{s.temp, p.Start, p.Size} }

// SHA256 digests the copy as it is now.
func (s *Staged) SHA256(ctx context.Context) ([]byte, error) {
	return sha256Of(ctx, s.temp, s.in.size)
}

// Commit puts the copy to its place, unless the input was changed meanwhile.
func (s *Staged) Commit(ctx context.Context) error {
	err := s.commit(ctx)
	if err != nil {
		return errors.Join(err, s.Abort())
	}
	return nil
}

func (s *Staged) commit(ctx context.Context) error {
	mode := os.FileMode(0o600)
	if !s.in.isBlockDevice() {
		mode = os.FileMode(s.in.stat.Mode & 0o777)
	}
	if err := s.temp.Chmod(mode); err != nil {
		return err
	}
	if err := s.temp.Sync(); err != nil {
		return fmt.Errorf("writing %s to disk: %w", s.out, err)
	}
	if err := s.in.Unchanged(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.rename(); err != nil {
		return err
	}
	// From here on the output is there: nothing of it is taken back.
	temp := s.temp
	s.temp = nil
	return errors.Join(temp.Close(), syncFolder(filepath.Dir(s.out)))
}

func (s *Staged) rename() error {
	temp := s.temp.Name()
	if s.force {
		return os.Rename(temp, s.out)
	}
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, s.out, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system has no such flag
		if err = unix.Link(temp, s.out); err == nil {
			return os.Remove(temp)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", s.out, ErrOutputExists)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: temp, New: s.out, Err: err}
	}
	return nil
}

// Abort removes the copy.
func (s *Staged) Abort() error {
	if s.temp == nil {
		return nil
	}
	temp := s.temp
	s.temp = nil
	return errors.Join(temp.Close(), os.Remove(temp.Name()))
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems (FUSE, network) have no fsync for folders.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("writing folder %s to disk: %w", dir, err)
	}
	return nil
}

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

// SHA256 digests the whole image.
func (m *Image) SHA256(ctx context.Context) ([]byte, error) {
	return sha256Of(ctx, m.file, m.size)
}

func sha256Of(ctx context.Context, f *os.File, size int64) ([]byte, error) {
	h := sha256.New()
	if err := digestRanges(ctx, h, f, size); err != nil {
		return nil, fmt.Errorf("digesting %s: %w", f.Name(), err)
	}
	return h.Sum(nil), nil
}
