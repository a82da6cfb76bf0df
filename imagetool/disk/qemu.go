package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// QEMU's image locking (raw_apply_lock_bytes and raw_check_lock_bytes in
// block/file-posix.c): who uses an image holds a shared OFD lock on the byte
// permBase+n for each permission n that it has, and on sharedBase+n for each that
// it does not let others have. Whoever comes tests with the opposite byte.
const (
	permBase   = 100 // RAW_LOCK_PERM_BASE
	sharedBase = 200 // RAW_LOCK_SHARED_BASE
)

// The permissions of include/block/block-common.h that matter here, as bit numbers.
const (
	consistentRead = 0 // BLK_PERM_CONSISTENT_READ
	write          = 1 // BLK_PERM_WRITE
	resize         = 3 // BLK_PERM_RESIZE
)

// lockQEMU makes us a reader who shares neither writing nor resizing. Like QEMU
// it locks first and looks afterwards: of two who come at once, one will see the
// other.
func lockQEMU(f *os.File) error {
	for _, at := range []int64{permBase + consistentRead, sharedBase + write, sharedBase + resize} {
		lk := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return &InUseError{How: "it is locked for writing (fcntl)", Holder: lockHolder(f, at)}
		}
		if err != nil {
			return fmt.Errorf("taking QEMU's image lock: %w", err)
		}
	}
	for _, c := range []struct {
		at  int64
		how string
	}{
		{permBase + write, "it is being written to (QEMU's image lock)"},
		{permBase + resize, "it is being resized (QEMU's image lock)"},
		{sharedBase + consistentRead, "its user allows no readers (QEMU's image lock)"},
	} {
		lk, err := conflict(f, unix.F_WRLCK, c.at, 1)
		if err != nil {
			return err
		}
		if lk != nil {
			return &InUseError{How: c.how, Holder: holderOf(f, lk)}
		}
	}
	return nil
}
