package mutate

import (
	"bytes"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC-32C without the inversions of hash/crc32.
func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

func crc32cNumber(crc, n uint32) uint32 { return crc32c(crc, le.AppendUint32(nil, n)) }

// crc16 is the CRC-16 of lib/crc16.c, bit by bit.
func crc16(crc uint16, p []byte) uint16 {
	for _, c := range p {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0xa001
			}
		}
	}
	return crc
}

// seed is where all checksums of metadata_csum start.
func (g *geometry) seed(b []byte) uint32 {
	sb := g.super(b)
	if g.incompat(0x2000) { // EXT4_FEATURE_INCOMPAT_CSUM_SEED
		return uint32(find(superLayout, "s_checksum_seed").get(sb))
	}
	return crc32c(^uint32(0), uuid(sb))
}

func uuid(sb []byte) []byte { return sb[find(superLayout, "s_uuid").off:][:16] }

// inodeSeed is where the checksums of what belongs to an inode start.
func (g *geometry) inodeSeed(b []byte, n uint32, at int) uint32 {
	return crc32cNumber(crc32cNumber(g.seed(b), n), uint32(find(inodeLayout, "i_generation").get(b[at:])))
}

// sealGroup follows ext4_block_bitmap_csum_set, ext4_inode_bitmap_csum_set and
// ext4_group_desc_csum. The bitmaps are those that the healthy image has.
func (im *Image) sealGroup(b []byte, g int) {
	raw := b[im.descAt(g):][:im.descSize]
	if im.metadataCsum {
		d := im.group(im.Bytes, g)
		if !d.blockUninit {
			im.putBitmapSum(raw, "bg_block_bitmap_csum", im.block(b, d.blockBitmap)[:im.clusterBits/8], im.seed(b))
		}
		if !d.inodeUninit {
			im.putBitmapSum(raw, "bg_inode_bitmap_csum", im.block(b, d.inodeBitmap)[:im.perGroup/8], im.seed(b))
		}
	}
	if !im.groupCsum {
		return
	}
	sum := find(groupLayout32, "bg_checksum")
	number := le.AppendUint32(nil, uint32(g))
	before, after := raw[:sum.off], raw[sum.off+2:]
	if im.metadataCsum {
		crc := crc32c(crc32c(im.seed(b), number), before)
		sum.put(raw, uint64(crc32c(crc32c(crc, []byte{0, 0}), after)&0xffff))
		return
	}
	crc := crc16(crc16(^uint16(0), uuid(im.super(b))), number)
	sum.put(raw, uint64(crc16(crc16(crc, before), after)))
}

func (im *Image) putBitmapSum(raw []byte, name string, bitmap []byte, seed uint32) {
	crc := crc32c(seed, bitmap)
	find(groupLayout64, name+"_lo").put(raw, uint64(crc&0xffff))
	if im.descSize >= 64 {
		find(groupLayout64, name+"_hi").put(raw, uint64(crc>>16))
	}
}

// sealInode follows ext4_inode_csum. The size of the checksum is what the
// changed inode says, as it is for the kernel.
func (im *Image) sealInode(b []byte, n uint32, at int) {
	raw := b[at:][:im.inodeSize]
	lo, hi := find(inodeLayout, "i_checksum_lo"), find(inodeExtraLayout, "i_checksum_hi")
	wide := im.inodeSize > 128 && find(inodeExtraLayout, "i_extra_isize").get(raw) >= 4
	zeroed := bytes.Clone(raw)
	lo.put(zeroed, 0)
	if wide {
		hi.put(zeroed, 0)
	}
	crc := crc32c(im.inodeSeed(b, n, at), zeroed)
	lo.put(raw, uint64(crc&0xffff))
	if wide {
		hi.put(raw, uint64(crc>>16))
	}
}
