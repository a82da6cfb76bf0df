package output

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/hostfile"
)

// ErrExists says that the output is there already and may not be replaced.
var ErrExists = errors.New("output file exists")

// A File is one in the making: hidden in the folder where it will be, and
// not seen under its name before it is complete. Only a kill or a loss of power
// leaves the hidden file behind (.vmseal-*.tmp).
type File struct {
	path     string
	force    bool
	temp     *os.File // nil once it is committed or aborted
	name     string   // the hidden one, then path
	replaced bool     // there was something at path
}

// Create starts a file with these permissions, less the umask. A force of
// true lets Commit replace what is there.
func Create(path string, perm os.FileMode, force bool) (*File, error) {
	if strings.HasSuffix(path, hostfile.UndoSuffix) {
		return nil, fmt.Errorf("output %s has the name of an undo log", path)
	}
	return create(path, perm, force)
}

func create(path string, perm os.FileMode, force bool) (*File, error) {
	if err := checkPlace(path, force); err != nil {
		return nil, err
	}
	hidden := filepath.Join(filepath.Dir(path), ".vmseal-"+rand.Text()+".tmp")
	temp, err := os.OpenFile(hidden, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", path, errors.Unwrap(err))
	}
	return &File{path: path, force: force, temp: temp, name: hidden}, nil
}

// checkPlace tells whether a file may get this name. A symbolic link is refused: to
// replace it is not what was meant (/dev/stdout), and to follow it would leave
// open what it names at the end of a long run. An undo log would not know that its
// image was replaced.
func checkPlace(out string, force bool) error {
	if strings.HasSuffix(out, "/") {
		return fmt.Errorf("output %s is the name of a folder", out)
	}
	info, err := os.Lstat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := hostfile.CheckLog(out, out+hostfile.UndoSuffix); err != nil {
			return fmt.Errorf("output %s would be taken for another image: %w", out, err)
		}
		return checkFolder(out)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("output %s is a symbolic link: give the name of the file itself", out)
	case !info.Mode().IsRegular():
		return fmt.Errorf("output %s is there and not a regular file", out)
	case !force:
		return fmt.Errorf("%s: %w", out, ErrExists)
	}
	if err := hostfile.CheckLog(out, out+hostfile.UndoSuffix); err != nil {
		return err
	}
	if err := hostfile.CheckDetached(out); err != nil {
		return err
	}
	return checkFolder(out)
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
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// Write adds to the file, until Commit or Abort.
func (o *File) Write(p []byte) (int, error) { return o.temp.Write(p) }

// Commit makes files durable and then gives them their names, all of them or none.
// The last check runs when nothing but that is left to do; it may be nil. A failure
// removes the files; what one of them has replaced by then stays lost, and the
// error says so.
func Commit(last func() error, outputs ...*File) error {
	err := place(last, outputs)
	for _, o := range outputs {
		if err != nil {
			err = errors.Join(err, o.Abort())
			continue
		}
		o.temp.Close() // Sync has told what there was to tell
		o.temp = nil
	}
	return err
}

func place(last func() error, outputs []*File) error {
	for _, o := range outputs {
		if err := o.temp.Sync(); err != nil {
			return fmt.Errorf("writing %s to disk: %w", o.path, err)
		}
	}
	if last != nil {
		if err := last(); err != nil {
			return err
		}
	}
	for _, o := range outputs {
		if err := o.rename(); err != nil {
			return err
		}
	}
	for _, o := range outputs {
		if err := syncFolder(filepath.Dir(o.path)); err != nil {
			return err
		}
	}
	return nil
}

func (o *File) rename() error {
	err := renameNew(o.name, o.path)
	if errors.Is(err, unix.EEXIST) {
		if !o.force {
			return fmt.Errorf("%s: %w", o.path, ErrExists)
		}
		err = unix.Rename(o.name, o.path)
		o.replaced = err == nil
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: o.name, New: o.path, Err: err}
	}
	o.name = o.path
	return nil
}

// renameNew replaces nothing.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system has no such flag
		if err = unix.Link(from, to); err != nil {
			return err
		}
		if err = unix.Unlink(from); err != nil {
			return errors.Join(err, unix.Unlink(to))
		}
	}
	return err
}

// Abort removes the file. After Commit it does nothing.
func (o *File) Abort() error {
	if o.temp == nil {
		return nil
	}
	temp := o.temp
	o.temp = nil
	if o.replaced {
		return errors.Join(temp.Close(), fmt.Errorf("%s has been replaced already", o.path))
	}
	return errors.Join(temp.Close(), os.Remove(o.name))
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
