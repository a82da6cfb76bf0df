package ext4

import "math/bits"

// blockMap says of every block whether something uses it. Groups in which
// nothing is used take no memory.
type blockMap struct {
	sb     *superblock
	groups [][]uint64
}

func newBlockMap(sb *superblock) *blockMap {
	return &blockMap{sb: sb, groups: make([][]uint64, sb.groups)}
}

// mark claims count blocks and fails on one that is claimed already.
func (m *blockMap) mark(block, count uint64) error {
	if !m.sb.holds(block) || count > m.sb.blocks-block {
		return damaged("blocks %d+%d lie outside the file system", block, count)
	}
	for count > 0 {
		g := m.sb.groupOf(block)
		if m.groups[g] == nil {
			m.groups[g] = make([]uint64, (m.sb.blocksPerGroup+63)/64)
		}
		bit := block - m.sb.groupStart(g)
		n := min(count, 64-bit%64, m.sb.groupEnd(g)-block)
		mask := ^uint64(0) >> (64 - n) << (bit % 64)
		word := &m.groups[g][bit/64]
		if clash := *word & mask; clash != 0 {
			return damaged("block %d has two owners", block-bit%64+uint64(bits.TrailingZeros64(clash)))
		}
		*word |= mask
		block, count = block+n, count-n
	}
	return nil
}

// count is the number of blocks in use in group g.
func (m *blockMap) count(g uint64) (n uint64) {
	for _, w := range m.groups[g] {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// bitmap is what group g's block bitmap has to look like with these bits set:
// blocks that the group does not have are in use (ext4_mark_bitmap_end).
func (sb *superblock) bitmap(g uint64, words []uint64) []byte {
	b := make([]byte, sb.blockSize)
	for i, w := range words {
		le.PutUint64(b[8*i:], w)
	}
	padBitmap(b, sb.groupEnd(g)-sb.groupStart(g))
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
