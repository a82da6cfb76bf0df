package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Device is the guest's device number of a disk or partition, encoded as in the kernel
// (include/linux/kdev_t.h). No disk has the number 0.
type Device uint32

// minorBits is MINORBITS.
const minorBits = 20

// NewDevice returns the Device with the given numbers. It is the inverse of String.
func NewDevice(major, minor uint32) Device { return Device(major<<minorBits | minor) }

// String returns "major:minor".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d>>minorBits, d&(1<<minorBits-1)) }

const (
	// unverifiable is SB_I_IMA_UNVERIFIABLE_SIGNATURE of s_iflags (include/linux/fs.h). FUSE sets
	// it, for example.
	unverifiable = 0x20

	// readOnly is GD_READ_ONLY of gendisk.state (include/linux/blkdev.h): the device is read-only
	// according to the device itself. It applies to the partitions, too. The flag that root can set
	// and clear is another one (BLKROSET).
	readOnly = 1 << 1

	diskName = 32 // DISK_NAME_LEN
)

// drivers are the name prefixes of disks that come from the hypervisor: virtio_blk, sd, nvme and
// xen-blkfront. Block devices that root can assemble in the guest have other names: dm-, loop, md,
// nbd, ram.
var drivers = []string{"vd", "sd", "nvme", "xvd"}

// place is where a file is stored.
type place struct {
	device  Device
	flags   uint64
	initial bool   // in the initramfs: the type of its file system is rootfs_fs_type
	disk    uint64 // address of its struct gendisk; 0 without a disk
	seq     uint64 // diskseq of the disk; the kernel never uses the same number twice
}

// links are the addresses that lead from a file to its disk: super block, block device, disk.
type links struct{ super, bdev, disk uint64 }

// placeOf returns where the file of an inode is stored. inode holds the pointer to the inode's
// super block. The addresses of the last file are only a guess, because the kernel reuses
// addresses. placeOf reads from them and verifies each one. If the guess is right, one exchange is
// enough.
func (h *hit) placeOf(inode *guest.Range) (place, error) {
	e, o := h.e, &h.e.config.Profile.Offsets
	if inode.Err != nil {
		return place{}, fmt.Errorf("inode: %w", inode.Err)
	}
	for range 4 { // once for each link, and once to read everything
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
		err := readError(bdev, dev, flags, kind)
		if err == nil && value(bdev) != 0 {
			if e.last.bdev, e.last.disk = value(bdev), value(disk); e.last != last {
				continue
			}
			p.disk, p.seq, err = last.disk, value(seq), readError(disk, seq)
		}
		if err != nil {
			return place{}, fmt.Errorf("disk: %w", err)
		}
		return p, nil
	}
	return place{}, errors.New("the disk of the file changes while it is read")
}

// checkDevice returns an error if the file is on a file system whose contents may change unnoticed,
// or not on the pinned disk.
func (e *Enforcer) checkDevice(p *place) error {
	switch only := e.config.Device; {
	case p.flags&unverifiable != 0:
		return errors.New("on a file system whose contents may change unnoticed")
	case only == 0:
		return nil
	case p.disk == 0:
		return fmt.Errorf("on a file system without a disk of its own (memory, overlay, btrfs, network); only %v is allowed", only)
	case p.device != only:
		return fmt.Errorf("on device %v; only %v is allowed", p.device, only)
	case e.saved.Disk != 0 && p.seq != e.saved.Disk:
		return fmt.Errorf("on another disk that was given the number %v", only)
	}
	return nil
}

// leaveInitramfs records that the first program outside the initramfs is executed, and pins its
// disk. Until now only code from the host has run, so the kernel's data about that disk is true.
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
			return errors.New("the root file system has no disk of its own (memory, overlay, btrfs, network)")
		case err != nil:
			return fmt.Errorf("reading the system's disk: %w", err)
		case !slices.ContainsFunc(drivers, func(d string) bool { return strings.HasPrefix(name, d) }):
			return fmt.Errorf("the root file system is on %q, which does not come from the hypervisor (the names of those disks begin with %s)", name, strings.Join(drivers, ", "))
		case !e.config.Writable && value(state)&readOnly == 0:
			return fmt.Errorf("the guest can write to the system's disk %q: root could change programs while they run, or change them below the file system after they were verified. "+
				"Make the disk read-only on the host, or accept the risk with --writable", name)
		}
	}
	e.saved.Disk = p.seq
	return e.advance(initramfsLeft)
}
