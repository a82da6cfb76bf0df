package enforcer

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Device is a disk or partition by its number in the guest, as the kernel has it
// (include/linux/kdev_t.h). No disk has the number 0.
type Device uint32

// minorBits is MINORBITS.
const minorBits = 20

// NewDevice is the inverse of String.
func NewDevice(major, minor uint32) Device { return Device(major<<minorBits | minor) }

// String gives "major:minor".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d>>minorBits, d&(1<<minorBits-1)) }

// unverifiable is SB_I_IMA_UNVERIFIABLE_SIGNATURE of s_iflags (include/linux/fs.h):
// FUSE, for one.
const unverifiable = 0x20

// super is what counts of a struct super_block.
type super struct {
	device  Device
	flags   uint64
	initial bool // of the initramfs: its type is rootfs_fs_type
}

// superOf reads of which file system an inode is, the pointer to which was read. That of the
// last file comes with the same exchange that tells whether it is the one.
func (h *hit) superOf(inode *guest.Range) (super, error) {
	e, o := h.e, &h.e.config.Profile.Offsets
	if inode.Err != nil {
		return super{}, fmt.Errorf("inode: %w", inode.Err)
	}
	for range 2 {
		at, last := span(value(inode)+uint64(o.InodeSB), 8), e.super
		dev, flags, kind := span(last+uint64(o.SBDev), 4), span(last+uint64(o.SBFlags), 8), span(last+uint64(o.SBType), 8)
		err := cmp.Or(h.try(at, dev, flags, kind), at.Err)
		if e.super = value(at); err == nil && e.super != last {
			continue
		}
		if err = cmp.Or(err, unread(dev, flags, kind)); err != nil {
			return super{}, fmt.Errorf("super block: %w", err)
		}
		initial := value(kind) == e.config.Profile.Variables.RootfsType+e.saved.Slide
		return super{Device(value(dev)), value(flags), initial}, nil
	}
	return super{}, errors.New("the super block of an inode changes")
}

// check holds a file system to the pinned disk.
func (s *super) check(pinned Device) error {
	switch {
	case s.flags&unverifiable != 0:
		return errors.New("on a file system whose contents may change unseen")
	case pinned != 0 && s.device != pinned:
		return fmt.Errorf("on device %v, only %v is allowed", s.device, pinned)
	}
	return nil
}
