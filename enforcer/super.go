package enforcer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Device is a disk or partition by its numbers in the guest.
type Device struct{ Major, Minor uint32 }

// String gives "major:minor".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// minorBits splits a dev_t of the kernel (MINORBITS, include/linux/kdev_t.h).
const minorBits = 20

// unverifiable is SB_I_IMA_UNVERIFIABLE_SIGNATURE of s_iflags (include/linux/fs.h):
// FUSE, for one.
const unverifiable = 0x20

// maxSupers bounds the super blocks that are read on the chance that the next file
// is on one of them: a guest has few from which programs are started.
const maxSupers = 4

// super is what counts of a struct super_block.
type super struct {
	device  Device
	flags   uint64
	initial bool // of the initramfs: its type is rootfs_fs_type
}

// superOf reads of which file system an inode is, the pointer to which was read. That of
// a super block seen before comes with the same exchange that tells which one it is.
func (h *hit) superOf(inode guest.Range) (super, error) {
	e := h.e
	if inode.Err != nil {
		return super{}, fmt.Errorf("inode: %w", inode.Err)
	}
	for range 2 { // the second time, it was seen before
		ranges := []guest.Range{number(value(inode)+uint64(e.Profile.Offsets.InodeSB), 8)}
		for _, sb := range e.supers {
			ranges = append(ranges, e.superRanges(sb)...)
		}
		ranges, err := h.more(ranges...)
		if err == nil {
			err = firstErr(ranges[:1])
		}
		if err != nil {
			return super{}, fmt.Errorf("super block of an inode: %w", err)
		}
		sb := value(ranges[0])
		if i := slices.Index(e.supers, sb); i >= 0 {
			return e.parseSuper(ranges[1+3*i : 4+3*i])
		}
		e.supers = append(e.supers[max(0, len(e.supers)-maxSupers+1):], sb)
	}
	return super{}, errors.New("the super block of an inode changes")
}

func (e *Enforcer) superRanges(sb uint64) []guest.Range {
	o := &e.Profile.Offsets
	return []guest.Range{number(sb+uint64(o.SBDev), 4), number(sb+uint64(o.SBFlags), 8), number(sb+uint64(o.SBType), 8)}
}

func (e *Enforcer) parseSuper(r []guest.Range) (super, error) {
	if err := firstErr(r); err != nil {
		return super{}, fmt.Errorf("super block: %w", err)
	}
	dev := uint32(value(r[0]))
	return super{
		device:  Device{dev >> minorBits, dev & (1<<minorBits - 1)},
		flags:   value(r[1]),
		initial: value(r[2]) == e.Profile.Variables.RootfsType+e.slide,
	}, nil
}

// check holds a file system to the pinned disk.
func (s *super) check(pinned *Device) error {
	switch {
	case s.flags&unverifiable != 0:
		return errors.New("on a file system whose contents may change unseen")
	case pinned == nil:
		return nil
	case s.device != *pinned:
		return fmt.Errorf("on device %v, only %v is allowed", s.device, pinned)
	}
	return nil
}
