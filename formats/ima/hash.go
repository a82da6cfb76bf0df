package ima

import (
	"crypto"
	"fmt"
)

// HashID is the number of a hash function: enum hash_algo of include/uapi/linux/hash_info.h.
type HashID byte

// The numbers of enum hash_algo. This project signs with SHA-256, -384 and -512 only. It knows the
// others to recognize old values.
const (
	MD4 HashID = iota
	MD5
	SHA1
	RIPEMD160
	SHA256
	SHA384
	SHA512
	SHA224
	RIPEMD128
	RIPEMD256
	RIPEMD320
	Whirlpool256
	Whirlpool384
	Whirlpool512
	Tiger128
	Tiger160
	Tiger192
	SM3
	Streebog256
	Streebog512
	SHA3_256
	SHA3_384
	SHA3_512
)

// hashes is indexed by HashID. The names are those of hash_algo_name, and the sizes those of
// hash_digest_size, in the kernel's hash_info.c.
var hashes = [...]struct {
	name string
	size int
	std  crypto.Hash
}{
	MD4:          {"md4", 16, crypto.MD4},
	MD5:          {"md5", 16, crypto.MD5},
	SHA1:         {"sha1", 20, crypto.SHA1},
	RIPEMD160:    {"rmd160", 20, crypto.RIPEMD160},
	SHA256:       {"sha256", 32, crypto.SHA256},
	SHA384:       {"sha384", 48, crypto.SHA384},
	SHA512:       {"sha512", 64, crypto.SHA512},
	SHA224:       {"sha224", 28, crypto.SHA224},
	RIPEMD128:    {"rmd128", 16, 0},
	RIPEMD256:    {"rmd256", 32, 0},
	RIPEMD320:    {"rmd320", 40, 0},
	Whirlpool256: {"wp256", 32, 0},
	Whirlpool384: {"wp384", 48, 0},
	Whirlpool512: {"wp512", 64, 0},
	Tiger128:     {"tgr128", 16, 0},
	Tiger160:     {"tgr160", 20, 0},
	Tiger192:     {"tgr192", 24, 0},
	SM3:          {"sm3", 32, 0},
	Streebog256:  {"streebog256", 32, 0},
	Streebog512:  {"streebog512", 64, 0},
	SHA3_256:     {"sha3-256", 32, crypto.SHA3_256},
	SHA3_384:     {"sha3-384", 48, crypto.SHA3_384},
	SHA3_512:     {"sha3-512", 64, crypto.SHA3_512},
}

// Known reports whether the kernel knows the number (h < HASH_ALGO__LAST).
func (h HashID) Known() bool { return int(h) < len(hashes) }

// String returns the kernel's name of the hash, such as "sha256".
func (h HashID) String() string {
	if !h.Known() {
		return fmt.Sprintf("hash %d", byte(h))
	}
	return hashes[h].name
}

// Size returns the length of a digest in bytes, or 0 for an unknown hash.
func (h HashID) Size() int {
	if !h.Known() {
		return 0
	}
	return hashes[h].size
}

// CryptoHash returns the standard library's number of the hash, or 0 if there is none. Its method
// Available reports whether the hash is linked into the program.
func (h HashID) CryptoHash() crypto.Hash {
	if !h.Known() {
		return 0
	}
	return hashes[h].std
}

// ParseHash returns the hash with the given name. It is the inverse of String for known hashes.
func ParseHash(name string) (HashID, error) {
	for id, h := range hashes {
		if h.name == name {
			return HashID(id), nil
		}
	}
	return 0, fmt.Errorf("unknown hash %q", name)
}
