package ima

import (
	"encoding/hex"
	"fmt"

	"github.com/vmseal/vmseal/formats/digsig"
)

// XattrName is the name of the extended attribute (XATTR_NAME_IMA).
const XattrName = "security.ima"

// Type is the first byte of a value: enum evm_ima_xattr_type of
// security/integrity/integrity.h.
type Type byte

const (
	Digest          Type = digsig.TypeDigest    // IMA_XATTR_DIGEST: MD5 or SHA-1
	EVMHMAC         Type = 2                    // EVM_XATTR_HMAC, only in security.evm
	Signature       Type = digsig.TypeSignature // EVM_IMA_XATTR_DIGSIG: version 1 or 2
	DigestNG        Type = digsig.TypeDigestNG  // IMA_XATTR_DIGEST_NG: hash number and digest
	EVMPortable     Type = 5                    // EVM_XATTR_PORTABLE_DIGSIG, only in security.evm
	VeritySignature Type = digsig.TypeVerity    // IMA_VERITY_DIGSIG: version 3, over an fs-verity digest
)

// String returns the name of the type in this project's output.
func (t Type) String() string {
	switch t {
	case Digest:
		return "digest"
	case EVMHMAC:
		return "evm-hmac"
	case Signature:
		return "signature"
	case DigestNG:
		return "digest-ng"
	case EVMPortable:
		return "evm-portable-signature"
	case VeritySignature:
		return "verity-signature"
	}
	return fmt.Sprintf("type %d", byte(t))
}

// KeyID is the key id of a version 2 or 3 signature, in its stored byte order.
type KeyID = digsig.KeyID

// ParseKeyID parses a key id. It is the inverse of KeyID.String.
func ParseKeyID(s string) (KeyID, error) { return digsig.ParseKeyID(s) }

// KeyIDV1 is the longer key id of a version 1 signature.
type KeyIDV1 [8]byte

// String returns sixteen lower-case hexadecimal digits.
func (id KeyIDV1) String() string { return hex.EncodeToString(id[:]) }

// Value is a security.ima value. Type and Version determine which fields are used; the others must
// be zero.
type Value struct {
	Type    Type
	Version byte   // signatures only: 1, 2 (Signature), 3 (VeritySignature)
	Hash    HashID // of the file's contents; MD5 or SHA1 for Digest, SHA1 or SHA256 for version 1

	Digest []byte // Digest and DigestNG: exactly Hash.Size() bytes
	Padded bool   // Digest with MD5: four zero bytes follow, as old kernels wrote it

	KeyID     KeyID  // versions 2 and 3
	Signature []byte // all signatures

	KeyIDV1   KeyIDV1 // version 1
	Timestamp uint32  // version 1: seconds since 1970
	MPIBits   uint16  // version 1: bits of the signature as a multi-precision integer
}

// SignatureV2 returns the value with a PKCS #1 v1.5 signature over a file's digest.
func SignatureV2(hash HashID, id KeyID, sig []byte) Value {
	return Value{Type: Signature, Version: 2, Hash: hash, KeyID: id, Signature: sig}
}

// DigestValue returns the value with a digest and the number of its hash.
func DigestValue(hash HashID, digest []byte) Value {
	return Value{Type: DigestNG, Hash: hash, Digest: digest}
}

// IsSignature reports whether the value holds a signature of any version.
func (v Value) IsSignature() bool { return v.Type == Signature || v.Type == VeritySignature }
