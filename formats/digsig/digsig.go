// Package digsig reads the security.ima values that hold a verifiable signature: version 2, over a
// file's contents, and version 3, over struct ima_file_id with the digest of the file's contents or
// its fs-verity digest.
//
// It is the part of formats/ima for programs that only verify. It is as strict: every header field
// must be known and every length exact. It does not read digests, version 1 signatures, or the
// names of other hashes.
//
// The layout is that of struct signature_v2_hdr (security/integrity/integrity.h). The rules are
// those of asymmetric_verify (security/integrity/digsig_asymmetric.c).
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

// ErrVersion is wrapped by the error for a version that a signature of its type must not have.
var ErrVersion = errors.New("not a signature that can be verified")

// KeyID is the key id in a signature, in its stored byte order (big-endian in signature_v2_hdr).
type KeyID [4]byte

// String returns eight lower-case hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseKeyID parses a key id. It is the inverse of String.
func ParseKeyID(s string) (KeyID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(KeyID{}) || hex.EncodeToString(b) != s {
		return KeyID{}, fmt.Errorf("key id %q is not eight lower-case hexadecimal digits", s)
	}
	return KeyID(b), nil
}

// Hash is the number of a hash function: enum hash_algo of include/uapi/linux/hash_info.h.
type Hash byte

// The hashes that signatures may use.
const SHA256, SHA384, SHA512 Hash = 4, 5, 6

var signed = map[Hash]crypto.Hash{SHA256: crypto.SHA256, SHA384: crypto.SHA384, SHA512: crypto.SHA512}

// Crypto returns the standard library's number of the hash, or 0 if signatures must not use it.
func (h Hash) Crypto() crypto.Hash { return signed[h] }

// Signature is a parsed value.
type Signature struct {
	Type    byte // TypeSignature or TypeVerity
	Version byte // 2 or 3; always 3 for TypeVerity
	Hash    Hash // hash of the file's contents; may be one that signatures must not use
	KeyID   KeyID
	Bytes   []byte // the signature itself
}

// Parse parses a value. The result does not share memory with b.
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

// FileID returns the digest that a version 3 signature signs, given the file's digest of the
// signature's hash. It is the digest of struct ima_file_id (calc_file_id_hash,
// security/integrity/digsig_asymmetric.c). A digest of another length is returned unchanged.
func (s *Signature) FileID(digest []byte) []byte {
	if hash := s.Hash.Crypto(); hash != 0 && len(digest) == hash.Size() {
		h := hash.New()
		h.Write(append([]byte{s.Type, byte(s.Hash)}, digest...))
		return h.Sum(nil)
	}
	return digest
}
