package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

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

const (
	// unverifiable is SB_I_IMA_UNVERIFIABLE_SIGNATURE of s_iflags (include/linux/fs.h):
	// FUSE, for one.
	unverifiable = 0x20

	// readOnly is GD_READ_ONLY of gendisk.state (include/linux/blkdev.h): the driver was told so
	// by the device. It holds for the partitions, too. What root can set and clear is another
	// flag (BLKROSET).
	readOnly = 1 << 1

	diskName = 32 // DISK_NAME_LEN
)

// drivers are the beginnings of the names that disks have which a hypervisor gives to a guest: those of
// virtio_blk, sd, nvme and xen-blkfront. What root can put together in the guest has
// others: dm-, loop, md, nbd, ram.
var drivers = []string{"vd", "sd", "nvme", "xvd"}

// place is where a file lies.
type place struct {
	device  Device
	flags   uint64
	initial bool   // in the initramfs: its file system is of the type rootfs_fs_type
	disk    uint64 // the address of its struct gendisk; 0 without a disk
	seq     uint64 // diskseq of that, which no other disk has, had or will have
}

// links are the addresses that lead from a file to its disk: of its super block, the block
// device under that, and the disk.
type links struct{ super, bdev, disk uint64 }

// placeOf finds out where the file of an inode lies, the pointer to which was read. The kernel gives
// addresses out again, so those that led to the disk of the last file prove nothing. They tell where
// to look first, and if they are right again, one exchange reads all of it.
func (h *hit) placeOf(inode *guest.Range) (place, error) {
	e, o := h.e, &h.e.config.Profile.Offsets
	if inode.Err != nil {
		return place{}, fmt.Errorf("inode: %w", inode.Err)
	}
	for range 4 { // for each of the links, and for all of it
		last := e.last
		super, bdev := span(value(inode)+uint64(o.InodeSB), 8), span(last.super+uint64(o.SBBlock), 8)
		dev, flags, kind := span(last.super+uint64(o.SBDev), 4), span(last.super+uint64(o.SBFlags), 8), span(last.super+uint64(o.SBType), 8)
		disk, seq := span(last.bdev+uint64(o.BlockDisk), 8), span(last.disk+uint64(o.DiskSeq), 8)
		if err := cmp.Or(h.try(super, bdev, dev, flags, kind, disk, seq), super.Err); err != nil {
			return place{}, fmt.Errorf("super block: %w", err)
		}
		if e.last.super = value(super); e.last != last {
			continue
		}
		p := place{device: Device(value(dev)), flags: value(flags)}
		p.initial = value(kind) == e.config.Profile.Variables.RootfsType+e.saved.Slide
		err := unread(bdev, dev, flags, kind)
		if err == nil && value(bdev) != 0 {
			if e.last.bdev, e.last.disk = value(bdev), value(disk); e.last != last {
				continue
			}
			p.disk, p.seq, err = last.disk, value(seq), unread(disk, seq)
		}
		if err != nil {
			return place{}, fmt.Errorf("disk: %w", err)
		}
		return p, nil
	}
	return place{}, errors.New("the disk of a file changes")
}

// allowed holds a file to the pinned disk.
func (e *Enforcer) allowed(p *place) error {
	switch only := e.config.Device; {
	case p.flags&unverifiable != 0:
		return errors.New("on a file system whose contents may change unseen")
	case only == 0:
		return nil
	case p.disk == 0:
		return fmt.Errorf("on a file system without a disk of its own (memory, overlay, btrfs, network), only %v is allowed", only)
	case p.device != only:
		return fmt.Errorf("on device %v, only %v is allowed", p.device, only)
	case e.saved.Disk != 0 && p.seq != e.saved.Disk:
		return fmt.Errorf("on another disk, which was given the number %v", only)
	}
	return nil
}

// leaveInitramfs notes that the first program from outside is executed, and pins its disk. So far
// nothing has run but what the host gave: whatever the kernel says about that disk is true.
func (h *hit) leaveInitramfs(p *place) error {
	e, o := h.e, &h.e.config.Profile.Offsets
	if err := e.checkCPUs(h.memory); err != nil {
		return err
	}
	if e.config.Device != 0 || !e.config.Writable {
		text, state := span(p.disk+uint64(o.DiskName), diskName), span(p.disk+uint64(o.DiskState), 8)
		err := h.read(text, state)
		name, _, _ := strings.Cut(string(text.Buf), "\x00")
		switch {
		case p.disk == 0:
			return errors.New("the system lies on a file system without a disk of its own (memory, overlay, btrfs, network)")
		case err != nil:
			return fmt.Errorf("the system's disk: %w", err)
		case !slices.ContainsFunc(drivers, func(d string) bool { return strings.HasPrefix(name, d) }):
			return fmt.Errorf("the system lies on %q, which is no disk of the hypervisor's (those have names that begin with %s)", name, strings.Join(drivers, ", "))
		case !e.config.Writable && value(state)&readOnly == 0:
			return fmt.Errorf("the system's disk %q can be written to: root could change programs while they run, and below the file system after they were verified. "+
				"Make it read-only on the host, or say --writable and do without", name)
		}
	}
	e.saved.Disk = p.seq
	return e.advance(initramfsLeft)
}
