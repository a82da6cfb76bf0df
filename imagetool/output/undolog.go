package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// ErrNoUndoLog says that there is nothing to recover from.
var ErrNoUndoLog = errors.New("there is no undo log")

// An UndoLog is the file of an undo log.
type UndoLog struct {
	path string
}

var _ undo.Store = (*UndoLog)(nil)

// UndoLogOf is where the undo log of an image belongs.
func UndoLogOf(image string) (*UndoLog, error) {
	path, err := hostfile.UndoPath(image)
	if err != nil {
		return nil, err
	}
	return &UndoLog{path}, nil
}

// OpenUndoLog is for a log that is not where it belongs.
func OpenUndoLog(path string) *UndoLog { return &UndoLog{path} }

// Path is the name of the file.
func (l *UndoLog) Path() string { return l.path }

// Create writes the log. It is there, durable, when Create returns without an
// error, and not before. An image whose log is there already has none made.
func (l *UndoLog) Create(write func(io.Writer) error) error {
	if dir := filepath.Dir(l.path); dir == hostfile.StateFolder() {
		if err := makeFolder(dir); err != nil {
			return fmt.Errorf("making the folder of the undo log: %w", err)
		}
	}
	o, err := create(l.path, 0o600, false)
	if err != nil {
		return err
	}
	if err := write(o); err != nil {
		return errors.Join(fmt.Errorf("writing the undo log %s: %w", l.path, err), o.Abort())
	}
	return Commit(nil, o)
}

// Check fails if there is no log.
func (l *UndoLog) Check() error {
	_, err := os.Lstat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoUndoLog, l.path)
	}
	return err
}

// Open opens the log and gives its size.
func (l *UndoLog) Open() (undo.File, int64, error) {
	f, err := hostfile.OpenRaw(l.path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Remove removes the log for good.
func (l *UndoLog) Remove() error {
	if err := os.Remove(l.path); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(l.path)); err != nil {
		return fmt.Errorf("%s was removed, but may be back after a loss of power: %w", l.path, err)
	}
	return nil
}

// makeFolder makes a folder, and those above it, that outlives a loss of power. One
// that is there may be left by a run that did not come to flushing it; what others
// own was there before, and may not be ours to flush.
func makeFolder(dir string) error {
	parent := filepath.Dir(dir)
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		if err := syncFolder(parent); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	}
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}
