package ext4

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// scanInodes reads the inode tables of all groups.
func (l *Listing) scanInodes(ctx context.Context) error {
	var free uint64
	for g := range l.fs.groups {
		d := &l.fs.groups[g]
		if err := l.scanGroup(ctx, d); err != nil {
			return err
		}
		free += d.freeInodes
	}
	if free != uint64(l.fs.sb.freeInodes) {
		return damaged("superblock counts %d free inodes, the groups %d", l.fs.sb.freeInodes, free)
	}
	return nil
}

func (l *Listing) scanGroup(ctx context.Context, d *group) error {
	// INODE_UNINIT says that neither bitmap nor table were ever written.
	var bitmap []byte
	var written uint64
	if d.flags&bgInodeUninit == 0 {
		var err error
		if bitmap, err = l.fs.inodeBitmap(d); err != nil {
			return err
		}
		written = l.fs.sb.inodesPerGroup - d.itableUnused
	}
	if err := l.checkInodeBitmap(d, bitmap, written); err != nil {
		return err
	}
	var dirs uint64
	err := l.fs.eachInode(ctx, d, written, func(i uint64, raw []byte) error {
		isDir, err := l.scanInode(uint32(d.number*l.fs.sb.inodesPerGroup+i+1), raw, bitmap[i/8]&(1<<(i%8)) != 0)
		if isDir {
			dirs++
		}
		return err
	})
	if err != nil {
		return err
	}
	if dirs != d.usedDirs {
		return damaged("group %d: descriptor counts %d directories, the inode table %d", d.number, d.usedDirs, dirs)
	}
	return nil
}

// checkInodeBitmap holds the bitmap, nil if there is none, to the descriptor.
func (l *Listing) checkInodeBitmap(d *group, bitmap []byte, written uint64) error {
	per := l.fs.sb.inodesPerGroup
	var used uint64
	if bitmap != nil {
		for i := range per {
			if bitmap[i/8]&(1<<(i%8)) == 0 {
				continue
			}
			if used++; i >= written {
				return damaged("inode %d is in use, but lies in a part of the table marked as never used", d.number*per+i+1)
			}
		}
		padded := slices.Clone(bitmap)
		if padBitmap(padded, per); !slices.Equal(bitmap, padded) {
			// Only e2fsck minds; tar2ext4 and make_ext4fs leave it like that.
			l.unfit = cmp.Or(l.unfit, damaged("inode bitmap of group %d: padding at its end is not set", d.number))
		}
	}
	if used+d.freeInodes != per {
		return damaged("group %d: descriptor counts %d free inodes, the bitmap %d", d.number, d.freeInodes, per-used)
	}
	return nil
}

// eachInode reads the first n inodes of a group's table in large steps. raw is
// valid during the call only.
func (fs *FS) eachInode(ctx context.Context, d *group, n uint64, fn func(i uint64, raw []byte) error) error {
	const step = 1 << 18
	per := step / fs.sb.inodeSize
	for from := uint64(0); from < n; from += per {
		count := min(per, n-from)
		blocks := (count*fs.sb.inodeSize + fs.sb.blockSize - 1) / fs.sb.blockSize
		buf := make([]byte, blocks*fs.sb.blockSize)
		if err := fs.readInto(buf, d.inodeTable+from*fs.sb.inodeSize/fs.sb.blockSize); err != nil {
			return fmt.Errorf("reading inode table of group %d: %w", d.number, err)
		}
		for i := range count {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(from+i, buf[i*fs.sb.inodeSize:][:fs.sb.inodeSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanInode takes one inode into the books. An inode is in use if its bit says
// so, and then it has links; both must agree.
func (l *Listing) scanInode(number uint32, raw []byte, inUse bool) (isDir bool, err error) {
	reserved := number < l.fs.sb.firstInode && number != inoRoot
	links := le.Uint16(raw[inLinks:])
	if reserved && (!inUse || isZero(raw)) {
		if !inUse {
			return false, damaged("reserved inode %d is marked free", number)
		}
		return false, nil
	}
	if !reserved && inUse != (links != 0) {
		return false, damaged("inode %d has %d links, but its bit in the bitmap is %t", number, links, inUse)
	}
	if !inUse {
		return false, l.fs.checkFree(number, raw)
	}
	if !reserved && le.Uint32(raw[inDtime:]) != 0 {
		return false, damaged("inode %d is in use, but has a time of deletion", number)
	}
	in, err := l.fs.decodeInode(number, slices.Clone(raw))
	if err != nil {
		return false, err
	}
	if err := l.takeInode(in, reserved); err != nil {
		return false, err
	}
	return in.IsDir(), nil
}

func isZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

// takeInode claims an inode's blocks and remembers what the walk over the
// names has to find again.
func (l *Listing) takeInode(in *Inode, reserved bool) error {
	if err := l.fs.checkFields(in); err != nil {
		return err
	}
	f := &facts{mode: in.Mode, links: uint16(in.Links), file: -1, index: in.IsDir() && in.has(flIndex), value: in.has(flEAInode)}
	l.inode[in.Number] = f
	first, blocks, err := l.claimBlocks(in)
	if err != nil {
		return err
	}
	evm, cost, err := l.claimXattrs(in)
	if err != nil {
		return err
	}
	cost.space += blocks * l.fs.sb.blockSize
	if in.units != cost.space/512 && in.Number != inoBad {
		return damaged("inode %d: i_blocks is %d, but it has %d", in.Number, in.units, cost.space/512)
	}
	if reserved {
		return l.fs.checkReserved(in)
	}
	cost.inodes++
	l.charge(in, cost)
	if _, ok := fileTypes[in.Mode&modeType]; !ok {
		return damaged("inode %d: mode %#o has no file type that is known", in.Number, in.Mode)
	}
	if err := l.fs.checkLinkMap(in); err != nil {
		return err
	}
	if err := l.fs.checkSymlink(in); err != nil {
		return err
	}
	switch {
	case f.value:
		return l.takeValue(in)
	case in.IsRegular() && !l.fs.isHidden(in.Number) && in.Number != l.fs.journalInode():
		f.file = len(l.Files)
		l.Files = append(l.Files, File{Inode: in, FirstBlock: first, EVM: evm})
	}
	return nil
}
