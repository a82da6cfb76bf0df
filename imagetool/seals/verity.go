package seals

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"math/bits"
	"slices"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A superblock is struct verity_sb of cryptsetup's lib/verity/verity.c.
type superblock struct {
	at         int64  // where it lies on the device of the tree
	hashType   uint32 // 1, or 0 for that of Chrome OS
	algorithm  string
	dataBlock  int64 // bytes in a block
	hashBlock  int64
	dataBlocks uint64
	salt       []byte
}

const (
	superblockSize = 512
	maxVerityBlock = 512 << 10 // VERITY_BLOCK_SIZE_OK
)

var superblockMagic = []byte("verity\x00\x00")

// parseSuperblock gives nil for what cryptsetup would not take for a superblock.
func parseSuperblock(b []byte, at int64) *superblock {
	if len(b) < superblockSize || !bytes.HasPrefix(b, superblockMagic) {
		return nil
	}
	le := binary.LittleEndian
	algorithm, _, _ := bytes.Cut(b[32:64], []byte{0})
	saltSize := le.Uint16(b[80:])
	s := &superblock{
		at: at, hashType: le.Uint32(b[12:]), algorithm: string(algorithm), dataBlocks: le.Uint64(b[72:]),
		dataBlock: int64(le.Uint32(b[64:])), hashBlock: int64(le.Uint32(b[68:])),
	}
	blockSize := func(n int64) bool { return n >= 512 && n <= maxVerityBlock && n&(n-1) == 0 }
	if le.Uint32(b[8:]) != 1 || s.hashType > 1 || saltSize > 256 || s.dataBlocks == 0 || !blockSize(s.dataBlock) || !blockSize(s.hashBlock) {
		return nil
	}
	s.salt = b[88:][:saltSize]
	return s
}

// readSuperblock gives nil where there is none.
func readSuperblock(dev block.Device, at int64) (*superblock, error) {
	b := make([]byte, superblockSize)
	if _, err := dev.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return parseSuperblock(b, at), nil
}

// digests are the algorithms that are tried; veritysetup knows more.
var digests = map[string]func() hash.Hash{
	"sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// covers reports whether the tree is that of the data, as far as the first of its lowest
// blocks tells. A tree of which that cannot be told may be anybody's.
func (s *superblock) covers(tree, data block.Device) (bool, error) {
	if s.dataBlocks > uint64(data.Size()/s.dataBlock) {
		return false, nil
	}
	newHash := digests[s.algorithm]
	if newHash == nil || s.hashBlock < 2*int64(newHash().Size()) {
		return true, nil
	}
	h := newHash()
	leaf, perBlock := s.lowest(h.Size())
	if leaf < 0 {
		return true, nil
	}
	digests := make([]byte, s.hashBlock)
	if err := block.ReadFull(tree, digests, leaf*s.hashBlock); errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	stride := int64(h.Size())
	if s.hashType == 1 {
		stride = s.hashBlock / perBlock
	}
	b := make([]byte, s.dataBlock)
	for i := range int64(min(uint64(perBlock), s.dataBlocks)) {
		if err := block.ReadFull(data, b, i*s.dataBlock); err != nil {
			return false, err
		}
		if !bytes.Equal(s.digest(h, b), digests[i*stride:][:h.Size()]) {
			return false, nil
		}
	}
	return true, nil
}

func (s *superblock) digest(h hash.Hash, b []byte) []byte {
	h.Reset()
	if s.hashType == 1 {
		h.Write(s.salt)
		h.Write(b)
	} else {
		h.Write(b)
		h.Write(s.salt)
	}
	return h.Sum(nil)
}

// lowest is the first block of the lowest level, counted from the beginning of the
// device, and how many digests a block has: hash_levels of cryptsetup. Levels lie top
// down behind the superblock. It is -1 if the root hash is that of the only data block.
func (s *superblock) lowest(digestSize int) (leaf, perBlock int64) {
	shift := bits.Len64(uint64(s.hashBlock)/uint64(digestSize)) - 1
	perBlock = 1 << shift
	var above []uint64 // blocks in each level, from the lowest
	for n := s.dataBlocks; n > 1; {
		n = (n-1)>>shift + 1
		above = append(above, n)
	}
	if len(above) == 0 {
		return -1, perBlock
	}
	leaf = (s.at + superblockSize + s.hashBlock - 1) / s.hashBlock
	for _, n := range slices.Backward(above[1:]) {
		leaf += int64(n)
	}
	return leaf, perBlock
}
