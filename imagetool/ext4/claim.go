package ext4

// claimBlocks claims what an inode's block map consists of. It returns where the
// data begins, 0 if there is none, and how many blocks it takes: in whole
// clusters, and a block of the map takes one for itself.
func (l *Listing) claimBlocks(in *Inode) (first, blocks uint64, err error) {
	if in.Number == inoResize && l.fs.sb.has(compat, compatResizeInode) {
		blocks, err = l.claimResize(in)
		return 0, blocks, err
	}
	if !l.fs.hasMap(in) {
		if in.has(flInlineData) {
			_, err = l.fs.inlineData(in)
		}
		return 0, 0, err
	}
	c := &claimer{l: l, in: in}
	err = l.fs.mapBlocks(in, mapper{node: c.node, run: c.run})
	return c.first, c.clusters << l.fs.sb.clusterBits, err
}

// A claimer follows the block map of one inode.
type claimer struct {
	l        *Listing
	in       *Inode
	first    uint64
	clusters uint64
	last     run // the one before
}

func (c *claimer) node(block uint64) error { return c.claim(block, 1) }

func (c *claimer) claim(block, count uint64) error {
	_, n := c.l.fs.sb.clusters(block, count)
	c.clusters += n
	return c.l.used.mark(block, count)
}

func (c *claimer) run(r run) error {
	if c.first == 0 {
		c.first = r.physical
	}
	if c.l.fs.sb.clusterBits > 0 {
		return c.clustered(r)
	}
	return c.claim(r.physical, r.count)
}

// clustered claims data where clusters are more than blocks. A cluster of the file
// lies in one cluster of the file system, each block at its place in it, but
// several runs may share it (has_unaligned_cluster_map in e2fsck).
func (c *claimer) clustered(r run) error {
	sb := c.l.fs.sb
	if !c.in.has(flExtents) && !c.in.IsSymlink() {
		return damaged("has a block map, which bigalloc does not allow")
	}
	if (r.physical^r.logical)&(sb.clusterBlocks()-1) != 0 {
		return damaged("block %d of the file lies in block %d, not at its place in a cluster", r.logical, r.physical)
	}
	last := c.last
	c.last = r
	if last.count > 0 && (last.logical+last.count-1)>>sb.clusterBits == r.logical>>sb.clusterBits {
		begun := sb.clusterOf(last.physical + last.count - 1)
		if sb.clusterOf(r.physical) != begun {
			return damaged("block %d of the file lies in block %d, in another cluster than those before it", r.logical, r.physical)
		}
		claimed := min(r.count, sb.clusterStart(begun+1)-r.physical)
		r.physical, r.count = r.physical+claimed, r.count-claimed
		if r.count == 0 {
			return nil
		}
	}
	return c.claim(r.physical, r.count)
}
