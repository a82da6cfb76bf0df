package ext4

import "fmt"

// The resize inode lists, for the day on which the file system is enlarged, the blocks
// that are reserved for group descriptors: below one block of pointers the primary ones,
// and below each of these its backups. e2fsck looks at the first of them only.

// doubleIndirect is the block of pointers to blocks of pointers (EXT4_DIND_BLOCK).
func (in *Inode) doubleIndirect() uint64 {
	return uint64(le.Uint32(in.iBlock()[4*(directBlocks+1):]))
}

// claimResize claims the one block that belongs to the resize inode, and counts what it
// lists: reserved blocks, which belong to their group, but also others. Where blocks of
// 1 KiB make clusters, mke2fs lists one more, and make_ext4fs lists some twice. As e2fsck
// does, these are left to whoever has them (process_block in e2fsck/pass1.c). What nobody
// has is not given out, since the kernel would overwrite it when it enlarges the file
// system.
func (l *Listing) claimResize(in *Inode) (blocks uint64, err error) {
	below := map[uint64]uint64{} // how many pointers a block has
	count := func(block uint64, each func(uint64) error) (n uint64, err error) {
		b, err := l.fs.readBlock(block)
		if err != nil {
			return 0, err
		}
		for ; len(b) > 0; b = b[4:] {
			p := uint64(le.Uint32(b))
			switch {
			case p == 0:
				continue
			case !l.fs.sb.holds(p):
				return 0, damaged("resize inode lists block %d, which is outside the file system", p)
			}
			l.listed[l.fs.sb.clusterOf(p)] = true
			if n++; each == nil {
				continue
			}
			if err := each(p); err != nil {
				return 0, err
			}
		}
		return n, nil
	}
	total := uint64(1)
	n, err := count(in.doubleIndirect(), func(p uint64) error {
		if _, ok := below[p]; !ok {
			var err error
			if below[p], err = count(p, nil); err != nil {
				return err
			}
		}
		total += below[p]
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	return (total + n) << l.fs.sb.clusterBits, l.used.mark(in.doubleIndirect(), 1)
}

// checkResize holds the resize inode to what e2fsck wants to find in it: below the one
// block that it may have, the first blocks that are reserved for descriptors, and below
// each of these its backups (check_resize_inode). What else is listed there means nothing
// before somebody enlarges the file system: make_ext4fs leaves some.
func (fs *FS) checkResize(in *Inode) error {
	if !in.IsRegular() || in.Links == 0 || in.has(flExtents) || in.has(flInlineData) {
		return damaged("resize inode %d is not one that is known", in.Number)
	}
	pointers := in.iBlock()
	for i := range inBlockCount {
		if i != directBlocks+1 && le.Uint32(pointers[4*i:]) != 0 {
			return damaged("resize inode %d has blocks where there should be none", in.Number)
		}
	}
	per, first := fs.sb.blockSize/4, fs.sb.descBlock(0)+fs.sb.descBlocks()
	list, err := fs.readBlock(in.doubleIndirect())
	if err != nil {
		return fmt.Errorf("resize inode: %w", err)
	}
	for i := range fs.sb.reservedGDT / 4 { // as many as e2fsck looks at
		slot := (fs.sb.descBlocks() + i) % per
		if got := uint64(le.Uint32(list[4*slot:])); got != first+i {
			return damaged("resize inode: entry %d is block %d, expected %d", slot, got, first+i)
		}
		if err := fs.checkBackups(first + i); err != nil {
			return fmt.Errorf("resize inode: %w", err)
		}
	}
	return nil
}

// checkBackups compares the beginning of a block of pointers with what it should have.
func (fs *FS) checkBackups(block uint64) error {
	b, err := fs.readBlock(block)
	if err != nil {
		return err
	}
	for i, want := range fs.backups(block) {
		if 4*i == len(b) { // more do not fit
			break
		}
		if got := uint64(le.Uint32(b[4*i:])); got != want {
			// Needed: the blocks that are named here are kept for growing. If they are others, nobody knows which are free.
			return incurable("block %d, entry %d: is %d, expected %d", block, i, got, want)
		}
	}
	return nil
}

// backups is where the other groups that have descriptors have this block of them.
func (fs *FS) backups(block uint64) (out []uint64) {
	for g := uint64(1); g < fs.sb.groups; g++ {
		if fs.sb.hasSuper(g) {
			out = append(out, block+g*fs.sb.blocksPerGroup)
		}
	}
	return out
}
