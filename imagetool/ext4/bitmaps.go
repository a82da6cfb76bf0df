package ext4

// checkBlockBitmaps compares the map that the pass built with what the file
// system says.
func (l *Listing) checkBlockBitmaps() error {
	sb := l.fs.sb
	var free uint64
	for g := range l.fs.groups {
		d := &l.fs.groups[g]
		used := l.used.count(d.number)
		if d.flags&bgBlockUninit != 0 {
			if used != sb.ownBlocks(d) {
				return damaged("group %d: bitmap is marked as never written, but blocks are in use", g)
			}
		} else if err := l.compareBitmap(d); err != nil {
			return err
		}
		if n := sb.groupEnd(d.number) - sb.groupStart(d.number) - used; n != d.freeBlocks {
			return damaged("group %d: descriptor counts %d free blocks, but there are %d", g, d.freeBlocks, n)
		}
		free += d.freeBlocks
	}
	if free != sb.freeBlocks {
		return damaged("superblock counts %d free blocks, the groups %d", sb.freeBlocks, free)
	}
	return nil
}

// ownBlocks is how many blocks of a group hold its own metadata: what the kernel
// takes for used where the bitmap was never written (ext4_init_block_bitmap).
func (sb *superblock) ownBlocks(d *group) uint64 {
	start, end := sb.groupStart(d.number), sb.groupEnd(d.number)
	used, reserved := sb.baseBlocks(d.number)
	n := used + reserved
	for _, r := range [][2]uint64{{d.blockBitmap, 1}, {d.inodeBitmap, 1}, {d.inodeTable, sb.itableBlocks()}} {
		from, to := max(r[0], start), min(r[0]+r[1], end)
		if from < to {
			n += to - from
		}
	}
	return n
}

func (l *Listing) compareBitmap(d *group) error {
	got, err := l.fs.blockBitmap(d)
	if err != nil {
		return err
	}
	want := l.fs.sb.bitmap(d.number, l.used.groups[d.number])
	for i := range want {
		diff := got[i] ^ want[i]
		for bit := range 8 {
			if diff&(1<<bit) == 0 {
				continue
			}
			block, state := l.fs.sb.groupStart(d.number)+uint64(8*i+bit), "free, but it is in use"
			if got[i]&(1<<bit) != 0 {
				state = "in use, but nothing refers to it"
			}
			return damaged("block bitmap of group %d says that block %d is %s", d.number, block, state)
		}
	}
	return nil
}
