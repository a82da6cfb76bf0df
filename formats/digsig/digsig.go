// Package digsig reads those security.ima values that hold a signature which may
// count: version 2, over a file's contents, and version 3, over struct ima_file_id with the
// digest of its contents or its fs-verity digest.
//
// It is the part of formats/ima that a program needs which only verifies, and as
// strict as that: every field of the header known, every length exact. What is left
// out are labels with a digest, version 1, and the names of hashes that are not
// signed with.
//
// The layout is that of struct signature_v2_hdr (security/integrity/integrity.h),
// the rules those of asymmetric_verify (security/integrity/digsig_asymmetric.c).
package digsig

import (
	"bytes"
	"crypto"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// Types of values: enum evm_ima_xattr_type of security/integrity/integrity.h.
const (
	TypeDigest    = 1 // IMA_XATTR_DIGEST
	TypeSignature = 3 // EVM_IMA_XATTR_DIGSIG: version 1 or 2, since 7.1 also 3
	TypeDigestNG  = 4 // IMA_XATTR_DIGEST_NG
	TypeVerity    = 6 // IMA_VERITY_DIGSIG: version 3
)

// struct signature_v2_hdr: type, version, hash_algo, __be32 keyid, __be16 sig_size,
// then the signature. Version 3 has the same header.
const atVersion, atHash, atKeyID, atSize = 1, 2, 3, 7

// HeaderSize is the length of that header.
const HeaderSize = 9

// ErrVersion is given, wrapped, for a version that a signature of its type may not have.
var ErrVersion = errors.New("not a signature that can be verified")

// KeyID is the key id of a signature, in the order in which it is stored (big-endian in
// signature_v2_hdr).
type KeyID [4]byte

// String gives eight lower-case hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseKeyID is the inverse of String.
func ParseKeyID(s string) (KeyID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(KeyID{}) || hex.EncodeToString(b) != s {
		return KeyID{}, fmt.Errorf("key id %q is not eight lower-case hexadecimal digits", s)
	}
	return KeyID(b), nil
}

// Hash numbers a hash function: enum hash_algo of include/uapi/linux/hash_info.h.
type Hash byte

// The numbers of the hashes that are signed with.
const SHA256, SHA384, SHA512 Hash = 4, 5, 6

var signed = map[Hash]crypto.Hash{SHA256: crypto.SHA256, SHA384: crypto.SHA384, SHA512: crypto.SHA512}

// Crypto gives the standard library's number of a hash that is signed with, 0 for others.
func (h Hash) Crypto() crypto.Hash { return signed[h] }

// Signature is one value.
type Signature struct {
	Type    byte // TypeSignature or TypeVerity
	Version byte // 2 or 3; 3 if it is of TypeVerity
	Hash    Hash // of the file's contents; not necessarily one that is signed with
	KeyID   KeyID
	Bytes   []byte // the signature itself
}

// Parse reads one value. The result does not share memory with b.
func Parse(b []byte) (Signature, error) {
	switch {
	case len(b) <= HeaderSize:
		return Signature{}, fmt.Errorf("%d bytes, but header and signature need more than %d", len(b), HeaderSize)
	case b[0] == TypeSignature && (b[atVersion] == 2 || b[atVersion] == 3), b[0] == TypeVerity && b[atVersion] == 3:
	case b[0] == TypeSignature && b[atVersion] == 1:
		return Signature{}, fmt.Errorf("%w: version 1 (SHA-1)", ErrVersion)
	default:
		return Signature{}, fmt.Errorf("%w: type %d, version %d", ErrVersion, b[0], b[atVersion])
	}
	sig := b[HeaderSize:]
	if n := int(binary.BigEndian.Uint16(b[atSize:])); n != len(sig) {
		return Signature{}, fmt.Errorf("signature length is %d, but %d bytes follow the header", n, len(sig))
	}
	return Signature{b[0], b[atVersion], Hash(b[atHash]), KeyID(b[atKeyID:atSize]), bytes.Clone(sig)}, nil
}

// FileID gives the digest that a signature of version 3 covers, of the digest that its file
// has by the signature's hash: that of struct ima_file_id (calc_file_id_hash,
// security/integrity/digsig_asymmetric.c). A digest of another length comes back as it is.
func (s *Signature) FileID(digest []byte) []byte {
	if hash := s.Hash.Crypto(); hash != 0 && len(digest) == hash.Size() {
		h := hash.New()
		h.Write(append([]byte{s.Type, byte(s.Hash)}, digest...))
		return h.Sum(nil)
	}
	return digest
}
