package hostfile

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

// A HardLinksError says that a file has several names, so that changing it in place
// would change more than what was named.
type HardLinksError struct {
	Path  string
	Names uint64
}

func (e *HardLinksError) Error() string {
	return fmt.Sprintf("%s: it has %d names (hard links), and all of them would change", e.Path, e.Names)
}

// A LockMode says how much company Lock allows.
type LockMode int

const (
	// ForReading keeps writers away. A read-only loop device does no harm.
	ForReading LockMode = iota
	// ForCopying allows no other use that can be seen.
	ForCopying
	// ForWriting keeps readers away too, and lets us write.
	ForWriting
)

// Lock keeps writers away from the file until Close: a QEMU that wants to write
// to it fails to start, and so does whoever takes a write lock on the file. If one
// is there already, Lock fails with an *InUseError; if an undo log is there, with a
// *undo.PendingError.
func (m *File) Lock(mode LockMode) error {
	if mode == ForWriting && !m.isBlockDevice() && m.stat.Nlink > 1 {
		// Its undo log would lie beside one of them only.
		return &HardLinksError{m.Name(), uint64(m.stat.Nlink)}
	}
	if err := m.LockPending(mode); err != nil {
		return err
	}
	// Not before: whoever was changing it has made its log under a lock.
	return checkPending(m.Name())
}

// LockPending is Lock for a file that may have an undo log.
func (m *File) LockPending(mode LockMode) error {
	if mode == ForWriting {
		if err := m.checkWriters(); err != nil {
			return err
		}
	}
	f, err := reopen(m.opened, m.isBlockDevice(), mode)
	if errors.Is(err, unix.EBUSY) {
		return &InUseError{Path: m.Name(), How: "the block device is mounted or opened exclusively", Holder: deviceHolder(m.stat.Rdev)}
	}
	if err != nil && mode == ForWriting {
		return fmt.Errorf("opening %s for writing: %w", m.Name(), err)
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", m.Name(), err)
	}
	if m.isBlockDevice() && mode == ForWriting {
		if err := checkWritable(f); err != nil {
			f.Close()
			return fmt.Errorf("opening %s for writing: %w", m.Name(), err)
		}
	}
	if err := lock(f, mode); err != nil {
		f.Close()
		var inUse *InUseError
		if errors.As(err, &inUse) {
			inUse.Path = m.Name()
			if inUse.Holder == "" {
				inUse.Holder = flockHolder(&m.stat, mode)
			}
			return err
		}
		return fmt.Errorf("locking %s: %w", m.Name(), err)
	}
	m.held = append(m.held, f)
	if mode == ForWriting {
		m.handle.f = f
	}
	return nil
}

// reopen makes an open file description of our own, since both kinds of lock
// belong to that. It keeps the name, for errors to come. O_EXCL on a block device
// claims it (bd_prepare_to_claim).
func reopen(f *os.File, exclusive bool, mode LockMode) (*os.File, error) {
	flags := os.O_RDONLY
	if mode == ForWriting {
		flags = os.O_RDWR
	}
	if exclusive {
		flags |= os.O_EXCL
	}
	for {
		fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), f.Name()), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
}

// checkWritable asks a block device, since some kernels let a read-only one be opened
// for writing and then refuse each write.
func checkWritable(f *os.File) error {
	ro, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	if err == nil && ro != 0 {
		err = errors.New("the block device is read-only")
	}
	return err
}

func lock(f *os.File, mode LockMode) error {
	if err := lockQEMU(f, mode); err != nil {
		return err
	}
	if err := checkLocks(f, mode); err != nil {
		return err
	}
	// A shared flock is compatible with other readers and keeps LOCK_EX out.
	how := unix.LOCK_SH
	if mode == ForWriting {
		how = unix.LOCK_EX
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &InUseError{How: "it is locked (flock)", Holder: lockHolder(f, 0)}
	}
	if err != nil {
		return fmt.Errorf("taking a lock: %w", err)
	}
	return checkLoop(f, mode)
}

// checkLocks finds locks of fcntl(2) anywhere in the file that do not go with ours.
func checkLocks(f *os.File, mode LockMode) error {
	typ, how := int16(unix.F_RDLCK), "it is locked for writing (fcntl)"
	if mode == ForWriting {
		typ, how = unix.F_WRLCK, "it is locked (fcntl)"
	}
	lk, err := conflict(f, typ, 0, 0)
	if err != nil || lk == nil {
		return err
	}
	return &InUseError{How: how, Holder: holderOf(f, lk)}
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
