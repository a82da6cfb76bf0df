package mutate

const superOffset = 1024

// geometry is what the superblock says about the shape of the file system.
type geometry struct {
	start       int // of the file system on the disk
	blockSize   int
	clusterBits int // in a group's block bitmap
	cluster     int // blocks in one
	blockCount  uint64
	inodeCount  uint32
	inodeSize   int
	perGroup    uint32 // inodes
	descSize    int
	groups      int
	firstData   uint64
	firstInode  uint32

	features     [3]uint32 // compat, incompat, ro_compat
	metadataCsum bool
	groupCsum    bool // metadata_csum or uninit_bg
	metaBG       int  // the first descriptor block that lies in its own meta group
}

func newGeometry(disk []byte, start int) *geometry {
	g := &geometry{start: start}
	sb := g.super(disk)
	u := func(name string) int { return int(find(superLayout, name).get(sb)) }
	g.features = [3]uint32{uint32(u("s_feature_compat")), uint32(u("s_feature_incompat")), uint32(u("s_feature_ro_compat"))}
	g.blockSize = 1024 << u("s_log_block_size")
	g.cluster = 1 << (u("s_log_cluster_size") - u("s_log_block_size"))
	g.clusterBits = u("s_clusters_per_group")
	g.blockCount = uint64(u("s_blocks_count_lo"))
	g.inodeCount, g.perGroup = uint32(u("s_inodes_count")), uint32(u("s_inodes_per_group"))
	g.inodeSize, g.firstInode = u("s_inode_size"), uint32(u("s_first_ino"))
	g.firstData = uint64(u("s_first_data_block"))
	g.groups = (int(g.blockCount-g.firstData) + u("s_blocks_per_group") - 1) / u("s_blocks_per_group")
	g.descSize = 32
	if g.incompat(0x80) { // EXT4_FEATURE_INCOMPAT_64BIT
		g.descSize = u("s_desc_size")
	}
	g.metadataCsum = g.roCompat(0x400)                // EXT4_FEATURE_RO_COMPAT_METADATA_CSUM
	g.groupCsum = g.metadataCsum || g.roCompat(0x10)  // EXT4_FEATURE_RO_COMPAT_GDT_CSUM
	g.metaBG = g.groups*g.descSize/g.blockSize + 1000 // none
	if g.incompat(0x10) {                             // EXT4_FEATURE_INCOMPAT_META_BG
		g.metaBG = u("s_first_meta_bg")
	}
	return g
}

func (g *geometry) compat(bit uint32) bool   { return g.features[0]&bit != 0 }
func (g *geometry) incompat(bit uint32) bool { return g.features[1]&bit != 0 }
func (g *geometry) roCompat(bit uint32) bool { return g.features[2]&bit != 0 }

func (g *geometry) super(b []byte) []byte    { return b[g.start+superOffset:][:1024] }
func (g *geometry) blockAt(block uint64) int { return g.start + int(block)*g.blockSize }
func (g *geometry) block(b []byte, block uint64) []byte {
	return b[g.blockAt(block):][:g.blockSize]
}

// blocksPerGroup counts blocks, not clusters.
func (g *geometry) blocksPerGroup() int { return g.clusterBits * g.cluster }

// descAt is where the descriptor of a group lies (descriptor_loc of
// fs/ext4/super.c).
func (g *geometry) descAt(group int) int {
	per := g.blockSize / g.descSize
	i := group / per
	block := g.firstData + 1 + uint64(i)
	if g.blockSize == 1024 && g.firstData == 0 { // bigalloc: block 0 is what lies before the superblock
		block++
	}
	if i >= g.metaBG {
		first := i * per // group that holds it
		block = g.firstData + uint64(first*g.blocksPerGroup())
		if g.hasSuper(first) {
			block++
		}
	}
	return g.blockAt(block) + group%per*g.descSize
}

// hasSuper reports whether a group starts with a superblock, as
// ext4_bg_has_super does for sparse_super.
func (g *geometry) hasSuper(group int) bool {
	if group <= 1 || !g.roCompat(0x1) { // EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER
		return true
	}
	for _, p := range []int{3, 5, 7} {
		n := p
		for n < group {
			n *= p
		}
		if n == group {
			return true
		}
	}
	return false
}

// inodeAt is where an inode lies on the disk.
func (g *geometry) inodeAt(b []byte, n uint32) int {
	d := g.group(b, int((n-1)/g.perGroup))
	return g.blockAt(d.inodeTable) + int((n-1)%g.perGroup)*g.inodeSize
}

// descriptor is the part of struct ext4_group_desc that the parser needs.
type descriptor struct {
	blockBitmap, inodeBitmap, inodeTable uint64
	blockUninit, inodeUninit             bool
}

func (g *geometry) group(b []byte, group int) descriptor {
	raw := b[g.descAt(group):]
	flags := le.Uint16(raw[18:])
	return descriptor{
		blockBitmap: uint64(le.Uint32(raw)),
		inodeBitmap: uint64(le.Uint32(raw[4:])),
		inodeTable:  uint64(le.Uint32(raw[8:])),
		inodeUninit: g.groupCsum && flags&1 != 0, // EXT4_BG_INODE_UNINIT
		blockUninit: g.groupCsum && flags&2 != 0, // EXT4_BG_BLOCK_UNINIT
	}
}

// inUse asks the inode bitmap.
func (g *geometry) inUse(b []byte, n uint32) bool {
	d := g.group(b, int((n-1)/g.perGroup))
	i := (n - 1) % g.perGroup
	return !d.inodeUninit && g.block(b, d.inodeBitmap)[i/8]&(1<<(i%8)) != 0
}

// bitsOf is how many clusters a group has.
func (g *geometry) bitsOf(group int) int {
	left := int(g.blockCount-g.firstData) - group*g.blocksPerGroup()
	return (min(left, g.blocksPerGroup()) + g.cluster - 1) / g.cluster
}
