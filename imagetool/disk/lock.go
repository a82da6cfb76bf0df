package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// An InUseError says that somebody else uses an image.
type InUseError struct {
	Path   string
	How    string // what they do with it
	Holder string // "qemu-system-x86 (pid 4711)" or "/dev/loop3"; empty if unknown
}

func (e *InUseError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is in use: %s", e.Path, e.How)
	}
	return fmt.Sprintf("%s is in use: %s: %s", e.Path, e.How, e.Holder)
}

// A LockMode says how much company Lock allows.
type LockMode int

const (
	// ForReading keeps writers away. A read-only loop device does no harm.
	ForReading LockMode = iota
	// ForCopying allows no other use that can be seen.
	ForCopying
)

// Lock keeps writers away from the image until Close: a QEMU that wants to write
// to it fails to start, and so does whoever takes a write lock on the file. If one
// is there already, Lock fails with an *InUseError.
func (m *Image) Lock(mode LockMode) error {
	f, err := reopen(m.file, m.isBlockDevice())
	if errors.Is(err, unix.EBUSY) {
		return &InUseError{Path: m.path, How: "the block device is mounted or opened exclusively"}
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", m.path, err)
	}
	if err := lock(f, mode); err != nil {
		f.Close()
		var inUse *InUseError
		if errors.As(err, &inUse) {
			inUse.Path = m.path
			return err
		}
		return fmt.Errorf("locking %s: %w", m.path, err)
	}
	m.held = append(m.held, f)
	return nil
}

// reopen makes an open file description of our own, since both kinds of lock
// belong to that. O_EXCL on a block device claims it (bd_prepare_to_claim).
func reopen(f *os.File, exclusive bool) (*os.File, error) {
	flags := os.O_RDONLY
	if exclusive {
		flags |= os.O_EXCL
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0)
}

func lock(f *os.File, mode LockMode) error {
	if err := lockQEMU(f); err != nil {
		return err
	}
	if err := checkWriteLocks(f); err != nil {
		return err
	}
	// A shared flock is compatible with other readers and keeps LOCK_EX out.
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &InUseError{How: "it is locked (flock)", Holder: lockHolder(f, 0)}
	}
	if err != nil {
		return fmt.Errorf("taking a shared lock: %w", err)
	}
	return checkLoop(f, mode)
}

// checkWriteLocks finds write locks of fcntl(2) anywhere in the file.
func checkWriteLocks(f *os.File) error {
	lk, err := conflict(f, unix.F_RDLCK, 0, 0)
	if err != nil || lk == nil {
		return err
	}
	return &InUseError{How: "it is locked for writing (fcntl)", Holder: holderOf(f, lk)}
}

// conflict returns the lock that would keep us from taking ours, if there is one.
// A length of 0 means up to the end of the file.
func conflict(f *os.File, typ int16, start, length int64) (*unix.Flock_t, error) {
	lk := unix.Flock_t{Type: typ, Start: start, Len: length}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err != nil {
		return nil, fmt.Errorf("testing for locks: %w", err)
	}
	if lk.Type == unix.F_UNLCK {
		return nil, nil
	}
	return &lk, nil
}
