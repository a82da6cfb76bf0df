package keys

import (
	"fmt"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/trust"
)

// Reasons why a value does not verify.
var (
	ErrNotSignature   = digsig.ErrVersion
	ErrHash           = trust.ErrHash
	ErrDigestSize     = trust.ErrDigestSize
	ErrUnknownKey     = trust.ErrUnknownKey
	ErrNotValid       = trust.ErrNotValid
	ErrSignatureSize  = trust.ErrSignatureSize
	ErrBadSignature   = trust.ErrBadSignature
	errVersion1Closed = fmt.Errorf("%w: version 1 (SHA-1)", ErrNotSignature)
)

// Verify verifies a signature over digest with a key of the store that is valid now, and returns
// that key. The signature is good only if the error is nil.
//
// For version 2, digest is the digest of the file's contents under v.Hash. For version 3, it is the
// digest of ima.FileID of the fs-verity digest, also under v.Hash. In both cases it is the digest
// that the kernel passes to integrity_digsig_verify. Verify refuses version 1, which uses SHA-1;
// see VerifyV1.
func (t *TrustStore) Verify(v ima.Value, digest []byte) (*PublicKey, error) {
	switch {
	case v.Type == ima.Signature && v.Version == 2, v.Type == ima.VeritySignature && v.Version == 3:
	case v.Type == ima.Signature && v.Version == 1:
		return nil, errVersion1Closed
	case v.IsSignature():
		return nil, fmt.Errorf("%w: %v of version %d", ErrNotSignature, v.Type, v.Version)
	default:
		return nil, fmt.Errorf("%w: %v", ErrNotSignature, v.Type)
	}
	s := digsig.Signature{Version: v.Version, Hash: digsig.Hash(v.Hash), KeyID: v.KeyID, Bytes: v.Signature}
	if s.Hash.Crypto() == 0 {
		return nil, fmt.Errorf("%w: %v", ErrHash, v.Hash)
	}
	return t.Store.Verify(s, digest)
}
