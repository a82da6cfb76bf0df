package hostfile

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
	writeUnchanged = 2 // BLK_PERM_WRITE_UNCHANGED
	resize         = 3 // BLK_PERM_RESIZE
)

// lockQEMU makes us a reader who shares neither writing nor resizing, or a writer
// who shares nothing. Like QEMU it locks first and looks afterwards: of two who
// come at once, one will see the other.
func lockQEMU(f *os.File, mode LockMode) error {
	own := []int64{permBase + consistentRead, sharedBase + write, sharedBase + resize}
	if mode == ForWriting {
		own = append(own, permBase+write, sharedBase+consistentRead, sharedBase+writeUnchanged)
	}
	for _, at := range own {
		lk := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return &InUseError{How: "it is locked for writing (fcntl)", Holder: lockHolder(f, at)}
		}
		if err != nil {
			return fmt.Errorf("taking QEMU's image lock: %w", err)
		}
	}
	for _, c := range opposites(mode) {
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

type opposite struct {
	at  int64
	how string
}

// opposites are the locks of others that do not go with ours.
func opposites(mode LockMode) []opposite {
	list := []opposite{
		{permBase + write, "it is being written to (QEMU's image lock)"},
		{permBase + resize, "it is being resized (QEMU's image lock)"},
		{sharedBase + consistentRead, "its user allows no readers (QEMU's image lock)"},
	}
	if mode == ForWriting {
		list = append(list,
			opposite{permBase + consistentRead, "it is being read (QEMU's image lock)"},
			opposite{sharedBase + write, "its user allows no writers (QEMU's image lock)"})
	}
	return list
}
