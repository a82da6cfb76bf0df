package hostfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// A File is a regular file or a block device that holds an image. It is a block.Device,
// which can be written to once it is locked for that. It may be used by several
// goroutines at once.
type File struct {
	handle // the lock's own, once it is locked for writing
	opened *os.File
	stat   unix.Stat_t // as it was when the file was opened
	held   []*os.File
}

var _ block.Device = (*File)(nil)

// Open opens a file. One with an undo log is an *undo.PendingError.
func Open(path string) (*File, error) {
	m, err := OpenPending(path)
	if err != nil {
		return nil, err
	}
	if err := m.checkPending(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// checkPending looks for an undo log whose run was cut short: one that still holds
// its locks is the one to name.
func (m *File) checkPending() error {
	err := checkPending(m.Name())
	if _, ok := errors.AsType[*undo.PendingError](err); !ok {
		return err
	}
	if inUse, ok := errors.AsType[*InUseError](m.LockPending(ForReading)); ok {
		return inUse
	}
	return err
}

// OpenPending opens a file that may have an undo log.
func OpenPending(path string) (*File, error) {
	f, err := OpenRaw(path)
	if err != nil {
		return nil, err
	}
	m := &File{opened: f}
	if err := unix.Fstat(int(f.Fd()), &m.stat); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.handle = handle{f, size}
	return m, nil
}

// OpenRaw opens a regular file or a block device for reading. O_NONBLOCK keeps a named
// pipe from blocking the open; it changes nothing for the kinds that are accepted.
func OpenRaw(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	mode := info.Mode()
	if !mode.IsRegular() && (mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0) {
		f.Close()
		return nil, fmt.Errorf("%s: not a regular file or a block device", path)
	}
	return f, nil
}

// Close releases the locks and the file.
func (m *File) Close() error {
	for _, f := range m.held {
		f.Close()
	}
	return m.opened.Close()
}

// Opened is the file as it was opened for reading, for a process that is to read it, too.
func (m *File) Opened() *os.File { return m.opened }

// IsBlockDevice reports whether it is one.
func (m *File) IsBlockDevice() bool { return m.isBlockDevice() }

func (m *File) isBlockDevice() bool { return m.stat.Mode&unix.S_IFMT == unix.S_IFBLK }

// Is reports whether a name stands for this file.
func (m *File) Is(info os.FileInfo) (bool, error) {
	own, err := m.opened.Stat()
	return err == nil && os.SameFile(own, info), err
}

// Unchanged compares the file with what it was when it was opened, as far as its times
// show it. A block device has none that follow its contents.
func (m *File) Unchanged() error {
	var open, named unix.Stat_t
	if err := unix.Fstat(int(m.opened.Fd()), &open); err != nil {
		return &os.PathError{Op: "stat", Path: m.Name(), Err: err}
	}
	if err := unix.Stat(m.Name(), &named); err != nil {
		return &os.PathError{Op: "stat", Path: m.Name(), Err: err}
	}
	old := &m.stat
	same := named.Dev == open.Dev && named.Ino == open.Ino
	if !m.isBlockDevice() {
		same = same && open.Size == old.Size && open.Mtim == old.Mtim && open.Ctim == old.Ctim
	}
	if !same {
		return fmt.Errorf("%s was changed while it was being read", m.Name())
	}
	return nil
}
