package ext4

import "fmt"

// A run is a range of file blocks that lie one behind the other on disk.
type run struct {
	logical   uint64 // first block in the file
	physical  uint64 // first block in the file system
	count     uint64
	unwritten bool // allocated, but reads as zeros
}

// A mapper receives what an inode's block map consists of, in logical order.
// node may be nil.
type mapper struct {
	node func(block uint64) error // a block of the map itself
	run  func(run) error          // data
}

// mapBlocks walks the block map of an inode: extents or indirect blocks.
func (fs *FS) mapBlocks(in *Inode, m mapper) error {
	w := &mapWalker{fs: fs, in: in, mapper: m}
	var err error
	if in.has(flExtents) {
		err = w.extents(in.iBlock(), nil, exMaxBlocks)
	} else {
		err = w.indirect()
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = w.checkSize()
	}
	if err != nil {
		return fmt.Errorf("inode %d: %w", in.Number, err)
	}
	return nil
}

// hasMap reports whether the inode has a block map at all.
func (fs *FS) hasMap(in *Inode) bool {
	switch {
	case in.Number == inoBad: // has blocks, but no file type
		return true
	case in.has(flInlineData):
		return false
	case in.IsSymlink():
		return !fs.isFastSymlink(in)
	}
	return in.IsRegular() || in.IsDir()
}

// isFastSymlink reports whether the target lies in i_block
// (ext4_inode_is_fast_symlink: no clusters but that of the attributes; with
// ea_inode, where attributes may have many, a size that fits).
func (fs *FS) isFastSymlink(in *Inode) bool {
	if !in.IsSymlink() || in.has(flInlineData) {
		return false
	}
	if fs.sb.has(incompat, incompatEAInode) {
		return in.Size > 0 && in.Size < inBlockSize
	}
	var units uint64
	if in.acl != 0 {
		units = fs.sb.clusterSize() / 512
	}
	return in.units == units
}

type mapWalker struct {
	fs *FS
	in *Inode
	mapper
	next    uint64          // first logical block that may come now
	visited uint64          // blocks of all kinds
	nodes   map[uint64]bool // blocks of the map itself
	pending run
	end     uint64 // behind the last block that is mapped
	written uint64 // behind the last block that is not unwritten
}

// visit bounds the work on a damaged map by the size of the file system, and
// visitNode by what is really there: no block of the map counts twice.
func (w *mapWalker) visit(block, count uint64) error {
	if !w.fs.sb.holds(block) || count > w.fs.sb.blocks-block {
		return damaged("block map refers to blocks %d+%d, outside the file system", block, count)
	}
	if w.visited += count; w.visited > w.fs.sb.blocks {
		return damaged("block map holds more blocks than the file system")
	}
	return nil
}

func (w *mapWalker) visitNode(block uint64) ([]byte, error) {
	if err := w.visit(block, 1); err != nil {
		return nil, err
	}
	if w.nodes[block] {
		return nil, damaged("block map refers to its block %d twice", block)
	}
	if w.nodes == nil {
		w.nodes = map[uint64]bool{}
	}
	w.nodes[block] = true
	if w.node != nil {
		if err := w.node(block); err != nil {
			return nil, err
		}
	}
	return w.fs.readBlock(block)
}

// emit joins what is contiguous, so that readers get long runs.
func (w *mapWalker) emit(r run) error {
	if err := w.visit(r.physical, r.count); err != nil {
		return err
	}
	w.end = r.logical + r.count
	if !r.unwritten {
		w.written = w.end
	}
	p := &w.pending
	if p.count > 0 && p.logical+p.count == r.logical && p.physical+p.count == r.physical && p.unwritten == r.unwritten {
		p.count += r.count
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.pending = r
	return nil
}

func (w *mapWalker) flush() error {
	r := w.pending
	w.pending = run{}
	if r.count == 0 {
		return nil
	}
	return w.run(r)
}

// checkSize refuses blocks that lie behind the size, where only preallocated ones
// may lie; fs-verity keeps its tree there (check_blocks in e2fsck/pass1.c).
func (w *mapWalker) checkSize() error {
	bs, size := w.fs.sb.blockSize, uint64(w.in.Size)
	switch {
	case w.in.Number == inoBad || w.in.IsSymlink():
		return nil
	case w.in.IsDir():
		if spare := uint64(w.fs.sb.raw[sbPreallocDir]); w.end > size/bs+spare {
			return damaged("size is %d, but there are %d blocks", size, w.end)
		}
	case w.written > 0 && size < (w.written-1)*bs && !w.in.has(flVerity):
		return damaged("size is %d, but there are %d blocks", size, w.written)
	}
	return nil
}

// struct ext4_extent_header, ext4_extent_idx, ext4_extent and ext4_extent_tail
// (fs/ext4/ext4_extents.h).
const (
	exMagic      = 0xf30a
	exEntrySize  = 12
	exMaxDepth   = 5     // EXT4_MAX_EXTENT_DEPTH
	exMaxInitLen = 32768 // EXT_INIT_MAX_LEN; longer means unwritten
	exTailSize   = 4
	exMaxBlocks  = 1<<32 - 1 // EXT_MAX_BLOCKS: no extent reaches the last block
	exSpare      = 2         // as many entries less a node may have room for (ext2fs_extent_header_verify)
	exOffEntries = 2
	exOffMax     = 4
	exOffDepth   = 6
	exOffLen     = 4 // within ext4_extent
	exOffStartHi = 6
	exOffStartLo = 8
	exOffLeafLo  = 4 // within ext4_extent_idx
	exOffLeafHi  = 8
)

// A promise is what a node's parent says about it.
type promise struct {
	depth int
	key   uint64 // first logical block
}

// extents walks one node of an extent tree, whose extents must stay below end.
// The root has no parent.
func (w *mapWalker) extents(node []byte, parent *promise, end uint64) error {
	if le.Uint16(node) != exMagic {
		return damaged("extent node has no magic number")
	}
	entries, limit, d := int(le.Uint16(node[exOffEntries:])), int(le.Uint16(node[exOffMax:])), int(le.Uint16(node[exOffDepth:]))
	room := (len(node) - exEntrySize) / exEntrySize
	switch {
	case parent != nil && d != parent.depth: // __ext4_ext_check; e2fsck goes by the root
		return incurable("extent node has depth %d, expected %d", d, parent.depth)
	case d > exMaxDepth:
		return damaged("extent tree has depth %d", d)
	case limit > room || limit < room-exSpare || entries > limit:
		return damaged("extent node has %d of %d entries, but room for %d", entries, limit, room)
	case entries == 0 && (d > 0 || parent != nil):
		return damaged("extent node is empty")
	case parent != nil && uint64(le.Uint32(node[exEntrySize:])) != parent.key: // ext4_valid_extent_entries
		return damaged("extent node begins at file block %d, expected %d", le.Uint32(node[exEntrySize:]), parent.key)
	}
	for i := range entries {
		e := node[exEntrySize*(i+1):][:exEntrySize]
		if d == 0 {
			if err := w.extent(e, end); err != nil {
				return err
			}
			continue
		}
		childEnd := end
		if i+1 < entries {
			childEnd = uint64(le.Uint32(node[exEntrySize*(i+2):]))
		}
		if err := w.extentChild(e, d-1, childEnd, end); err != nil {
			return err
		}
	}
	return nil
}

func (w *mapWalker) extentChild(e []byte, depth int, childEnd, end uint64) error {
	key := uint64(le.Uint32(e))
	if key < w.next || childEnd <= key || childEnd > end {
		return damaged("extent index at file block %d is out of order", key)
	}
	block := uint64(le.Uint32(e[exOffLeafLo:])) | uint64(le.Uint16(e[exOffLeafHi:]))<<32
	node, err := w.visitNode(block)
	if err != nil {
		return err
	}
	if w.fs.sb.metadataCsum() {
		// The tail lies behind eh_max entries (ext4_extent_tail_offset).
		at := exEntrySize * (1 + int(le.Uint16(node[exOffMax:])))
		if at+exTailSize > len(node) {
			return damaged("extent block %d has no room for its checksum", block)
		}
		if got, want := le.Uint32(node[at:]), crc32c(w.in.seed, node[:at]); got != want {
			return damaged("extent block %d: checksum is %#08x, computed %#08x", block, got, want)
		}
	}
	w.next = key
	return w.extents(node, &promise{depth, key}, childEnd)
}

func (w *mapWalker) extent(e []byte, end uint64) error {
	r := run{
		logical:  uint64(le.Uint32(e)),
		physical: uint64(le.Uint32(e[exOffStartLo:])) | uint64(le.Uint16(e[exOffStartHi:]))<<32,
		count:    uint64(le.Uint16(e[exOffLen:])),
	}
	if r.count > exMaxInitLen {
		r.count -= exMaxInitLen
		r.unwritten = true
	}
	if r.count == 0 || r.logical < w.next || r.logical+r.count > end {
		return damaged("extent at file block %d is out of order", r.logical)
	}
	w.next = r.logical + r.count
	return w.emit(r)
}

// indirect walks the block pointers of ext2 and ext3 (ext4_block_to_path).
func (w *mapWalker) indirect() error {
	pointers := w.in.iBlock()
	for i := range directBlocks {
		if err := w.pointer(uint64(le.Uint32(pointers[4*i:])), 0); err != nil {
			return err
		}
	}
	for level := 1; directBlocks+level <= inBlockCount; level++ {
		if err := w.pointer(uint64(le.Uint32(pointers[4*(directBlocks+level-1):])), level); err != nil {
			return err
		}
	}
	return nil
}

// pointer follows one pointer; 0 is a hole. level is the number of blocks of
// pointers between it and the data.
func (w *mapWalker) pointer(block uint64, level int) error {
	span := uint64(1)
	for range level {
		span *= w.fs.sb.blockSize / 4
	}
	if block == 0 {
		w.next += span
		return nil
	}
	if level == 0 {
		w.next++
		return w.emit(run{logical: w.next - 1, physical: block, count: 1})
	}
	node, err := w.visitNode(block)
	if err != nil {
		return err
	}
	for i := 0; i < len(node); i += 4 {
		if err := w.pointer(uint64(le.Uint32(node[i:])), level-1); err != nil {
			return err
		}
	}
	return nil
}
