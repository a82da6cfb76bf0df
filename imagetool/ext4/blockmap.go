package ext4

import "math/bits"

// blockMap says of every cluster whether something uses it. Groups in which
// nothing is used take no memory.
type blockMap struct {
	sb     *superblock
	groups [][]uint64
}

func newBlockMap(sb *superblock) *blockMap {
	return &blockMap{sb: sb, groups: make([][]uint64, sb.groups)}
}

// mark claims the clusters of count blocks and fails on one that is claimed
// already.
func (m *blockMap) mark(block, count uint64) error {
	if !m.sb.holds(block) || count > m.sb.blocks-block {
		// Needed: nobody can have them.
		return incurable("blocks %d+%d lie outside the file system", block, count)
	}
	if count == 0 {
		return nil
	}
	per := m.sb.clustersPerGroup
	for c, left := m.sb.clusters(block, count); left > 0; {
		g, bit := c/per, c%per
		n := min(left, 64-bit%64, per-bit)
		word, mask := m.word(g, bit), ^uint64(0)>>(64-n)<<(bit%64)
		if clash := *word & mask; clash != 0 {
			return m.sb.twoOwners(m.sb.clusterStart(c - bit%64 + uint64(bits.TrailingZeros64(clash))))
		}
		*word |= mask
		c, left = c+n, left-n
	}
	return nil
}

func (m *blockMap) word(g, bit uint64) *uint64 {
	if m.groups[g] == nil {
		m.groups[g] = make([]uint64, (m.sb.clustersPerGroup+63)/64)
	}
	return &m.groups[g][bit/64]
}

func (sb *superblock) twoOwners(block uint64) error {
	if sb.clusterBits > 0 {
		return incurable("the cluster that begins with block %d has two owners", block)
	}
	return damaged("block %d has two owners", block)
}

// count is the number of clusters in use in group g.
func (m *blockMap) count(g uint64) (n uint64) {
	for _, w := range m.groups[g] {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// bitmap is what group g's block bitmap has to look like with these bits set:
// clusters that the group does not have are in use (ext4_mark_bitmap_end).
func (sb *superblock) bitmap(g uint64, words []uint64) []byte {
	b := make([]byte, sb.blockSize)
	for i, w := range words {
		le.PutUint64(b[8*i:], w)
	}
	padBitmap(b, sb.groupClusters(g))
	return b
}

// padBitmap sets the bits from n on.
func padBitmap(b []byte, n uint64) {
	for ; n%8 != 0; n++ {
		b[n/8] |= 1 << (n % 8)
	}
	for i := n / 8; i < uint64(len(b)); i++ {
		b[i] = 0xff
	}
}
