package trust

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
)

// Why a signature does not verify.
var (
	ErrHash          = errors.New("hash is not allowed")
	ErrDigestSize    = errors.New("digest does not have the size of its hash")
	ErrUnknownKey    = errors.New("unknown key")
	ErrNotValid      = errors.New("key is not valid now")
	ErrSignatureSize = errors.New("signature does not have the size of its key")
	ErrBadSignature  = errors.New("bad signature")
)

// Verify checks that s is a signature over digest by a key of the store that is valid
// now, and gives that key. A nil error is the only yes.
//
// For version 2 the digest is that of the file's contents under s.Hash. For version 3
// it is the digest of struct ima_file_id with the fs-verity digest, again under s.Hash:
// in both cases what the kernel hands to integrity_digsig_verify.
func (t *Store) Verify(s digsig.Signature, digest []byte) (*Key, error) {
	hash := s.Hash.Crypto()
	k, known := t.Lookup(s.KeyID)
	switch {
	case hash == 0:
		return nil, fmt.Errorf("%w: number %d", ErrHash, s.Hash)
	case len(digest) != hash.Size():
		return nil, fmt.Errorf("%w: %d bytes for %v", ErrDigestSize, len(digest), hash)
	case !known:
		return nil, fmt.Errorf("%w %v", ErrUnknownKey, s.KeyID)
	}
	if err := k.ValidAt(time.Now()); err != nil {
		return nil, err
	}
	if len(s.Bytes) != k.RSA.Size() {
		return nil, fmt.Errorf("%w: %d bytes, but key %v has %d", ErrSignatureSize, len(s.Bytes), k.ID, k.RSA.Size())
	}
	if err := rsa.VerifyPKCS1v15(k.RSA, hash, digest, s.Bytes); err != nil {
		return nil, fmt.Errorf("%w by key %v", ErrBadSignature, k.ID)
	}
	return k, nil
}
