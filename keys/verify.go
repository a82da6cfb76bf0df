package keys

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
)

// Why a value does not verify.
var (
	ErrNotSignature   = errors.New("not a signature that can be verified")
	ErrHash           = errors.New("hash is not allowed")
	ErrDigestSize     = errors.New("digest does not have the size of its hash")
	ErrUnknownKey     = errors.New("unknown key")
	ErrNotValid       = errors.New("key is not valid now")
	ErrSignatureSize  = errors.New("signature does not have the size of its key")
	ErrBadSignature   = errors.New("bad signature")
	errVersion1Closed = fmt.Errorf("%w: version 1 (SHA-1)", ErrNotSignature)
)

// Verify checks that value is a signature over digest by a key of the store that
// is valid now, and gives that key. A nil error is the only yes.
//
// For version 2 the digest is that of the file's contents under value.Hash. For
// version 3 it is the digest of ima.FileID of the fs-verity digest, again under
// value.Hash: in both cases what the kernel hands to integrity_digsig_verify.
// Version 1 is refused, since it rests on SHA-1; see VerifyV1.
func (t *TrustStore) Verify(value ima.Value, digest []byte) (*PublicKey, error) {
	return t.verifyAt(value, digest, time.Now())
}

func (t *TrustStore) verifyAt(value ima.Value, digest []byte, now time.Time) (*PublicKey, error) {
	hash, err := signedHash(value)
	if err != nil {
		return nil, err
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("%w: %d bytes for %v", ErrDigestSize, len(digest), value.Hash)
	}
	k, ok := t.byID[value.KeyID]
	if !ok {
		return nil, fmt.Errorf("%w %v", ErrUnknownKey, value.KeyID)
	}
	if err := k.ValidAt(now); err != nil {
		return nil, err
	}
	if err := k.verify(hash, digest, value.Signature); err != nil {
		return nil, err
	}
	c := *k
	return &c, nil
}

// signedHash names the hash of a value that may be verified at all.
func signedHash(v ima.Value) (crypto.Hash, error) {
	switch {
	case v.Type == ima.Signature && v.Version == 2, v.Type == ima.VeritySignature && v.Version == 3:
	case v.Type == ima.Signature && v.Version == 1:
		return 0, errVersion1Closed
	case v.IsSignature():
		return 0, fmt.Errorf("%w: %v of version %d", ErrNotSignature, v.Type, v.Version)
	default:
		return 0, fmt.Errorf("%w: %v", ErrNotSignature, v.Type)
	}
	switch v.Hash {
	case ima.SHA256, ima.SHA384, ima.SHA512:
		return v.Hash.CryptoHash(), nil
	}
	return 0, fmt.Errorf("%w: %v", ErrHash, v.Hash)
}

// verify is RSASSA-PKCS1-v1_5; hash 0 means that digest is signed as it is,
// without the DigestInfo that names the hash.
func (k *PublicKey) verify(hash crypto.Hash, digest, sig []byte) error {
	if len(sig) != k.RSA.Size() {
		return fmt.Errorf("%w: %d bytes, but key %v has %d", ErrSignatureSize, len(sig), k.ID, k.RSA.Size())
	}
	if err := rsa.VerifyPKCS1v15(k.RSA, hash, digest, sig); err != nil {
		return fmt.Errorf("%w by key %v", ErrBadSignature, k.ID)
	}
	return nil
}
