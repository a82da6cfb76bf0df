package ext4

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// File is one regular file with all its names.
type File struct {
	Inode      *Inode
	Paths      []string // sorted, from the root, as "/etc/passwd"; raw bytes
	FirstBlock uint64   // where its data begins, 0 if it has no block
	EVM        bool     // carries security.evm
}

// Listing is a file system whose metadata was found to agree in every point
// that writing attributes relies on.
type Listing struct {
	Files []File // in disk order

	fs    *FS
	used  *blockMap
	refs  map[uint64]uint32 // references to each extended attribute block
	last  xattrBlock        // the one that was parsed last
	inode map[uint32]*facts
}

// facts is what the pass remembers of one inode in use.
type facts struct {
	mode  uint16
	links uint16 // i_links_count
	names uint32 // directory entries that refer to it, ".." included
	file  int    // index into Files, -1 if it is not a regular file
	index bool   // a directory with a hash tree
}

// Check makes one pass over all inodes and directories. It builds the map of
// blocks in use and the reference counts of attribute blocks and refuses any
// disagreement with bitmaps, counts and h_refcount, blocks with two owners,
// inodes without a name and names without an inode.
func (fs *FS) Check(ctx context.Context) (*Listing, error) {
	l := &Listing{fs: fs, used: newBlockMap(fs.sb), refs: map[uint64]uint32{}, inode: map[uint32]*facts{}}
	if err := l.markMetadata(); err != nil {
		return nil, err
	}
	if err := l.scanInodes(ctx); err != nil {
		return nil, err
	}
	if err := l.checkRefcounts(); err != nil {
		return nil, err
	}
	if err := l.checkOrphanFile(); err != nil {
		return nil, err
	}
	if err := l.walkNames(ctx); err != nil {
		return nil, err
	}
	if err := l.checkBlockBitmaps(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.FirstBlock, b.FirstBlock), cmp.Compare(a.Inode.Number, b.Inode.Number))
	})
	for i := range l.Files {
		slices.Sort(l.Files[i].Paths)
		l.inode[l.Files[i].Inode.Number].file = i
	}
	return l, nil
}

// markMetadata claims what belongs to no inode.
func (l *Listing) markMetadata() error {
	sb := l.fs.sb
	for g := range sb.groups {
		d := &l.fs.groups[g]
		used, reserved := sb.baseBlocks(g)
		for _, r := range [][2]uint64{
			{sb.groupStart(g), used + reserved}, {d.blockBitmap, 1}, {d.inodeBitmap, 1}, {d.inodeTable, sb.itableBlocks()},
		} {
			if err := l.used.mark(r[0], r[1]); err != nil {
				return fmt.Errorf("metadata of group %d: %w", g, err)
			}
		}
	}
	return nil
}

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
	sb := l.fs.sb
	bitmap := make([]byte, sb.blockSize)
	scan := sb.inodesPerGroup - d.itableUnused
	if d.flags&bgInodeUninit != 0 {
		scan = 0
		padBitmap(bitmap, sb.inodesPerGroup)
	} else {
		var err error
		if bitmap, err = l.fs.inodeBitmap(d); err != nil {
			return err
		}
	}
	var used, dirs uint64
	for i := range sb.inodesPerGroup {
		if bitmap[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if used++; i >= scan {
			return damaged("inode %d is in use, but lies in a part of the table marked as never used", d.number*sb.inodesPerGroup+i+1)
		}
	}
	padded := slices.Clone(bitmap)
	if padBitmap(padded, sb.inodesPerGroup); !slices.Equal(bitmap, padded) {
		return damaged("inode bitmap of group %d: padding at its end is not set", d.number)
	}
	if used+d.freeInodes != sb.inodesPerGroup {
		return damaged("group %d: descriptor counts %d free inodes, the bitmap %d", d.number, d.freeInodes, sb.inodesPerGroup-used)
	}
	err := l.fs.eachInode(ctx, d, scan, func(i uint64, raw []byte) error {
		isDir, err := l.scanInode(uint32(d.number*sb.inodesPerGroup+i+1), raw, bitmap[i/8]&(1<<(i%8)) != 0)
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
		return false, nil
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
	f := &facts{mode: in.Mode, links: uint16(in.Links), file: -1, index: in.IsDir() && in.has(flIndex)}
	l.inode[in.Number] = f
	first, blocks, err := l.claimBlocks(in)
	if err != nil {
		return err
	}
	if in.acl != 0 {
		blocks++
	}
	if reserved {
		return nil // mke2fs, resize2fs and the kernel count these in ways of their own
	}
	if want := blocks * l.fs.sb.blockSize / 512; in.units != want {
		return damaged("inode %d: i_blocks is %d, but it has %d", in.Number, in.units, want)
	}
	if _, ok := fileTypes[in.Mode&modeType]; !ok {
		return damaged("inode %d: mode %#o has no file type that is known", in.Number, in.Mode)
	}
	evm, err := l.claimXattrs(in)
	if err != nil {
		return err
	}
	if in.IsRegular() && in.Number != l.fs.orphanFile() {
		f.file = len(l.Files)
		l.Files = append(l.Files, File{Inode: in, FirstBlock: first, EVM: evm})
	}
	return nil
}

func (l *Listing) claimBlocks(in *Inode) (first, blocks uint64, err error) {
	if !l.fs.hasMap(in) {
		if in.has(flInlineData) {
			_, err = l.fs.inlineData(in)
		}
		return 0, 0, err
	}
	claim := func(block, count uint64) error {
		blocks += count
		// The resize inode's map lists the blocks reserved for descriptors.
		if in.Number == inoResize && l.fs.sb.isReservedGDT(block) {
			return nil
		}
		return l.used.mark(block, count)
	}
	err = l.fs.mapBlocks(in, mapper{
		node: func(b uint64) error { return claim(b, 1) },
		run: func(r run) error {
			if first == 0 {
				first = r.physical
			}
			if in.Number != inoResize {
				return claim(r.physical, r.count)
			}
			for i := range r.count {
				if err := claim(r.physical+i, 1); err != nil {
					return err
				}
			}
			return nil
		},
	})
	return first, blocks, err
}

// isReservedGDT reports whether block is kept for more group descriptors.
func (sb *superblock) isReservedGDT(block uint64) bool {
	g := sb.groupOf(block)
	used, reserved := sb.baseBlocks(g)
	off := block - sb.groupStart(g)
	return off >= used && off < used+reserved
}

// An xattrBlock is one extended attribute block, parsed.
type xattrBlock struct {
	number  uint64
	refs    uint32 // h_refcount
	entries []entry
}

// parsed reads an attribute block. Inodes that share one mostly lie together.
func (l *Listing) parsed(block uint64) (*xattrBlock, error) {
	if l.last.number != block {
		raw, entries, err := l.fs.xattrBlock(block)
		if err != nil {
			return nil, err
		}
		l.last = xattrBlock{block, le.Uint32(raw[xaOffRefcount:]), entries}
	}
	return &l.last, nil
}

// claimXattrs checks an inode's attributes and claims their block.
func (l *Listing) claimXattrs(in *Inode) (evm bool, err error) {
	isEVM := func(e entry) bool { return e.is(indexSecurity, evmName) }
	body, err := in.bodyEntries()
	if err != nil || in.acl == 0 {
		return slices.ContainsFunc(body, isEVM), err
	}
	b, err := l.parsed(in.acl)
	if err != nil {
		return false, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	switch l.refs[in.acl]++; {
	case l.refs[in.acl] > b.refs:
		return false, damaged("extended attribute block %d: h_refcount is %d, but more inodes refer to it", in.acl, b.refs)
	case l.refs[in.acl] == 1:
		if err := l.used.mark(in.acl, 1); err != nil {
			return false, fmt.Errorf("inode %d: extended attributes: %w", in.Number, err)
		}
	}
	evm = slices.ContainsFunc(body, isEVM) || slices.ContainsFunc(b.entries, isEVM)
	return evm, in.checkDistinct(body, b.entries)
}

func (l *Listing) checkRefcounts() error {
	for _, block := range slices.Sorted(maps.Keys(l.refs)) {
		raw, err := l.fs.readBlock(block)
		if err != nil {
			return err
		}
		if got, n := le.Uint32(raw[xaOffRefcount:]), l.refs[block]; got != n {
			return damaged("extended attribute block %d: h_refcount is %d, but %d inodes refer to it", block, got, n)
		}
	}
	return nil
}

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
