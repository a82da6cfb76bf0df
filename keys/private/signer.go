package private

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"

	"github.com/sigstore/sigstore/pkg/signature"
)

// Key is an RSA private key with the objects beside it.
type Key struct {
	crypto.Signer

	// Name is the name of the key in errors: the place it was read from.
	Name string

	// Certificates are the certificates of the file, as DER, in order. They may belong to other
	// keys.
	Certificates [][]byte
}

func newKey(priv *rsa.PrivateKey, certificates [][]byte) (*Key, error) {
	s, err := newSigner(priv)
	if err != nil {
		return nil, err
	}
	return &Key{Signer: s, Certificates: certificates}, nil
}

// signer restricts sigstore's signer to signatures that security.ima may hold. sigstore's signer
// checks only the hash in its options. If it were asked for PSS, it would make a PKCS #1 v1.5
// signature.
type signer struct {
	*signature.RSAPKCS1v15Signer
}

// newSigner wraps a parsed key. It checks the key once. Signing is safe for concurrent use.
func newSigner(priv *rsa.PrivateKey) (crypto.Signer, error) {
	s, err := signature.LoadRSAPKCS1v15Signer(priv, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return signer{s}, nil
}

// Sign signs a digest. It does not use rand: PKCS #1 v1.5 is deterministic, and crypto/rsa takes
// its randomness for blinding from the system.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash, ok := opts.(crypto.Hash)
	if !ok {
		return nil, fmt.Errorf("signing: want a hash as option, not %T", opts)
	}
	switch hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("signing: hash %v is not sha256, sha384 or sha512", hash)
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("signing: digest of %d bytes, but %v has %d", len(digest), hash, hash.Size())
	}
	return s.RSAPKCS1v15Signer.Sign(nil, digest, hash)
}

var _ crypto.Signer = signer{}

// Public returns the *rsa.PublicKey.
func (s signer) Public() crypto.PublicKey { return s.RSAPKCS1v15Signer.Public().(*rsa.PublicKey) }
