package e2e

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"testing"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c is the kernel's: seeded, and without the final inversion.
func crc32c(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

func peek(t *testing.T, image string, offset int64, n int) []byte {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	return b
}

func poke(t *testing.T, image string, offset int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, offset)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// csumSeed is where the checksums of everything but the superblock start: the UUID's (no metadata_csum_seed here).
func csumSeed(t *testing.T, image string) uint32 {
	return crc32c(^uint32(0), peek(t, image, 1024+0x68, 16))
}

// attributeBlock is the block number of a file's attributes.
func attributeBlock(t *testing.T, image, path string) int64 {
	t.Helper()
	block := number(t, debugfs(t, image, false, "stat "+path), `File ACL: (\d+)`)
	if block == 0 {
		t.Fatalf("%s has no attribute block", path)
	}
	return block
}

// firstBlock is the disk block that holds a file's first block.
func firstBlock(t *testing.T, image, path string) int64 {
	t.Helper()
	return number(t, debugfs(t, image, false, "bmap "+path+" 0"), `(?m)^(\d+)`)
}

// journalErrno marks the journal as failed (s_errno), with a good checksum where the journal has one.
func journalErrno(t *testing.T, image string) string {
	t.Helper()
	offset := firstBlock(t, image, "<8>") * 4096
	sb := peek(t, image, offset, 1024)
	binary.BigEndian.PutUint32(sb[0x20:], uint32(1<<32-5)) // -EIO
	if binary.BigEndian.Uint32(sb[0xFC:]) != 0 {
		clear(sb[0xFC:0x100])
		binary.BigEndian.PutUint32(sb[0xFC:], crc32c(^uint32(0), sb))
	}
	poke(t, image, offset, sb)
	return image
}

// lyingBitmap marks a file's block as free, with counts and checksums to match.
func lyingBitmap(t *testing.T, image string) string {
	t.Helper()
	block := firstBlock(t, image, "/file")
	header := peer(t, "dumpe2fs", image)
	total := number(t, header, `(?m)^Free blocks: +(\d+)`)
	inGroup := number(t, header, `(?m)^  (\d+) free blocks`)
	debugfs(t, image, true, "freeb "+itoa(int(block)))
	debugfs(t, image, true, "set_super_value free_blocks_count "+itoa(int(total+1)),
		"set_block_group 0 free_blocks_count "+itoa(int(inGroup+1)), "set_block_group 0 checksum calc")
	return image
}

// wrongRefcount says that a block of attributes has more owners than it has, with a good checksum.
func wrongRefcount(t *testing.T, image string) string {
	t.Helper()
	block := attributeBlock(t, image, "/shared-1")
	b := readBlock(t, image, block)
	if n := binary.LittleEndian.Uint32(b[4:]); n != 2 {
		t.Fatalf("h_refcount is %d, want 2", n)
	}
	binary.LittleEndian.PutUint32(b[4:], 3)
	clear(b[16:20])
	seed := crc32c(csumSeed(t, image), binary.LittleEndian.AppendUint64(nil, uint64(block)))
	binary.LittleEndian.PutUint32(b[16:], crc32c(seed, b))
	poke(t, image, block*4096, b)
	return image
}

// misaligned moves a file's only block within its cluster (see sharedBlock).
func misaligned(t *testing.T, image string) string {
	t.Helper()
	debugfs(t, image, true, "set_inode_field /file block[5] "+itoa(int(firstBlock(t, image, "/file")+1)))
	return image
}

// mmpWord changes four bytes of the MMP block.
func mmpWord(offset int64, v uint32) func(*testing.T, string) string {
	return func(t *testing.T, image string) string {
		block := int64(binary.LittleEndian.Uint64(peek(t, image, 1024+0x168, 8)))
		poke(t, image, block*4096+offset, binary.LittleEndian.AppendUint32(nil, v))
		return image
	}
}

// sharedBlock lets two files claim one data block.
func sharedBlock(t *testing.T, image string) string {
	t.Helper()
	a, b := firstBlock(t, image, "/file"), firstBlock(t, image, "/attributes")
	if a == b {
		t.Fatal("the two files share a block already")
	}
	// The first extent of an inode with no tree: header of 12 bytes, then ee_block, ee_len, ee_start_hi, ee_start_lo;
	// ee_start_lo is the sixth word of i_block.
	debugfs(t, image, true, "set_inode_field /file block[5] "+itoa(int(b)))
	return image
}
