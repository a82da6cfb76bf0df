package enforcer

import (
	"encoding/binary"
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

// superOf reads of which file system an inode is. That of a super block seen before
// comes with the same exchange that tells which one it is.
func (h *hit) superOf(inode uint64) (super, error) {
	e := h.e
	ranges := []guest.Range{pointer(inode + uint64(e.Profile.Offsets.InodeSB))}
	for _, s := range e.supers {
		ranges = append(ranges, e.superRanges(s)...)
	}
	ranges, err := h.more(ranges...)
	if err != nil {
		return super{}, err
	}
	if ranges[0].Err != nil {
		return super{}, fmt.Errorf("reading an inode's super block: %w", ranges[0].Err)
	}
	sb := word(ranges[0])
	if i := slices.Index(e.supers, sb); i >= 0 {
		return e.parseSuper(ranges[1+3*i:])
	}
	if len(e.supers) == maxSupers {
		e.supers = e.supers[1:]
	}
	e.supers = append(e.supers, sb)
	if ranges, err = h.more(e.superRanges(sb)...); err != nil {
		return super{}, err
	}
	return e.parseSuper(ranges)
}

func (e *Enforcer) superRanges(sb uint64) []guest.Range {
	o := &e.Profile.Offsets
	return []guest.Range{
		{Addr: sb + uint64(o.SBDev), Buf: make([]byte, 4)},
		pointer(sb + uint64(o.SBFlags)),
		pointer(sb + uint64(o.SBType)),
	}
}

func (e *Enforcer) parseSuper(r []guest.Range) (super, error) {
	if err := firstErr(r[:3]); err != nil {
		return super{}, fmt.Errorf("super block: %w", err)
	}
	dev := binary.LittleEndian.Uint32(r[0].Buf)
	return super{
		device:  Device{dev >> minorBits, dev & (1<<minorBits - 1)},
		flags:   word(r[1]),
		initial: word(r[2]) == e.Profile.Variables.RootfsType+e.slide,
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
