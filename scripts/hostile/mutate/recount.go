package mutate

import "math/bits"

// Recount makes the counts in the descriptors and the superblock agree with the
// bitmaps of a changed copy, so that only who looks further finds the lie.
func (im *Image) Recount(b []byte) {
	var freeBlocks, freeInodes uint64
	for g := range im.groups {
		raw := b[im.descAt(g):][:im.descSize]
		d := im.group(im.Bytes, g) // where the bitmaps really are
		blocks, inodes := pair{raw, "bg_free_blocks_count"}, pair{raw, "bg_free_inodes_count"}
		if !d.blockUninit {
			blocks.put(im.descSize, zeros(im.block(b, d.blockBitmap), im.bitsOf(g)))
		}
		if !d.inodeUninit {
			inodes.put(im.descSize, zeros(im.block(b, d.inodeBitmap), int(im.perGroup)))
		}
		freeBlocks += blocks.get(im.descSize) * uint64(im.cluster)
		freeInodes += inodes.get(im.descSize)
	}
	find(superLayout, "s_free_blocks_count_lo").put(im.super(b), freeBlocks)
	find(superLayout, "s_free_inodes_count").put(im.super(b), freeInodes)
}

// A pair is a number in two halves of 16 bits, the second of which lies in
// large descriptors only.
type pair struct {
	raw  []byte
	name string
}

func (p pair) get(descSize int) uint64 {
	n := find(groupLayout64, p.name+"_lo").get(p.raw)
	if descSize >= 64 {
		n |= find(groupLayout64, p.name+"_hi").get(p.raw) << 16
	}
	return n
}

func (p pair) put(descSize int, n uint64) {
	find(groupLayout64, p.name+"_lo").put(p.raw, n)
	if descSize >= 64 {
		find(groupLayout64, p.name+"_hi").put(p.raw, n>>16)
	}
}

// zeros counts the clear ones among the first n bits.
func zeros(bitmap []byte, n int) (free uint64) {
	for i := range n / 8 {
		free += uint64(8 - bits.OnesCount8(bitmap[i]))
	}
	for i := n &^ 7; i < n; i++ {
		if bitmap[i/8]&(1<<(i%8)) == 0 {
			free++
		}
	}
	return free
}
