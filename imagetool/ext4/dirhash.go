package ext4

import (
	"math/bits"
	"slices"
)

// A dirHash computes the hash by which a directory's tree is sorted
// (ext4fs_dirhash in fs/ext4/hash.c).
type dirHash struct {
	version  byte // DX_HASH_LEGACY, _HALF_MD4 or _TEA
	unsigned bool // names are of unsigned characters
	seed     [4]uint32
}

const (
	hashLegacy = iota
	hashHalfMD4
	hashTEA
	hashVersions // of each sign

	sbFlagUnsignedHash = 0x2 // EXT2_FLAGS_UNSIGNED_HASH in s_flags

	hashEnd = 0x7fffffff << 1 // EXT4_HTREE_EOF_32BIT, which no name may have
)

// defaultSeed is that of MD4; it serves where the superblock has none.
var defaultSeed = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}

// newDirHash reads hash_version of a tree's root: the versions from three on
// are unsigned, and the others too where the superblock says so.
func (sb *superblock) newDirHash(version byte) dirHash {
	h := dirHash{version: version % hashVersions, unsigned: version >= hashVersions || sb.u32(sbFlags)&sbFlagUnsignedHash != 0}
	for i := range h.seed {
		h.seed[i] = sb.u32(sbHashSeed + 4*i)
	}
	if h.seed == [4]uint32{} {
		h.seed = defaultSeed
	}
	return h
}

// of hashes one name. The lowest bit is free: it marks collisions in the tree.
func (h *dirHash) of(name string) uint32 {
	var v uint32
	switch h.version {
	case hashLegacy:
		v = h.legacy(name)
	case hashHalfMD4:
		state := h.seed
		for ; len(name) > 0; name = name[min(32, len(name)):] {
			halfMD4(&state, h.words(name, 8))
		}
		v = state[1]
	case hashTEA:
		state := h.seed
		for ; len(name) > 0; name = name[min(16, len(name)):] {
			tea(&state, h.words(name, 4))
		}
		v = state[0]
	}
	if v &^= 1; v == hashEnd {
		v -= 2
	}
	return v
}

func (h *dirHash) char(c byte) uint32 {
	if h.unsigned {
		return uint32(c)
	}
	return uint32(int32(int8(c)))
}

// words packs the beginning of a name into n words, padded with the name's
// length (str2hashbuf).
func (h *dirHash) words(name string, n int) []uint32 {
	pad := uint32(len(name)) * 0x01010101
	out := slices.Repeat([]uint32{pad}, n)
	for i := range min(len(name), 4*n) {
		out[i/4] = h.char(name[i]) + out[i/4]<<8
	}
	return out
}

// legacy is dx_hack_hash.
func (h *dirHash) legacy(name string) uint32 {
	last, before := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		v := before + (last ^ h.char(name[i])*7152373)
		if v&0x80000000 != 0 {
			v -= 0x7fffffff
		}
		last, before = v, last
	}
	return last << 1
}

// halfMD4Rounds are three rounds like those of MD4 (RFC 1320) over half as many
// words, the second and third with other orders and shifts.
var halfMD4Rounds = [3]struct {
	mix   func(x, y, z uint32) uint32
	add   uint32
	order [8]int
	shift [4]int
}{
	{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
	{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
	{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
}

func halfMD4(state *[4]uint32, in []uint32) {
	s := *state
	for _, r := range halfMD4Rounds {
		for i, word := range r.order {
			at := (4 - i%4) % 4 // a, d, c, b
			mixed := r.mix(s[(at+1)%4], s[(at+2)%4], s[(at+3)%4])
			s[at] = bits.RotateLeft32(s[at]+mixed+in[word]+r.add, r.shift[i%4])
		}
	}
	for i := range state {
		state[i] += s[i]
	}
}

// tea is 16 rounds of the Tiny Encryption Algorithm.
func tea(state *[4]uint32, in []uint32) {
	const delta = 0x9e3779b9
	x, y, sum := state[0], state[1], uint32(0)
	for range 16 {
		sum += delta
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	state[0] += x
	state[1] += y
}
