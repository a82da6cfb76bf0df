package trust

import (
	"bytes"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
)

// MaxSize is the maximum size of a trust store's text. It has room for a thousand keys.
const MaxSize = 1 << 20

// PEMType is the label of a SubjectPublicKeyInfo (RFC 7468, section 13).
const PEMType = "PUBLIC KEY"

// The PEM headers of a key in a trust store.
const (
	HeaderKeyID     = "IMA-Key-Id"
	HeaderName      = "Name"
	HeaderNotBefore = "Not-Before"
	HeaderNotAfter  = "Not-After"
)

// Reasons why a text is not a trust store, or a signature does not verify.
var (
	ErrCertificate   = errors.New(`PEM block is "CERTIFICATE", want "PUBLIC KEY"`)
	ErrHash          = errors.New("hash is not allowed")
	ErrDigestSize    = errors.New("digest does not have the size of its hash")
	ErrUnknownKey    = errors.New("unknown key")
	ErrNotValid      = errors.New("key is not valid now")
	ErrSignatureSize = errors.New("signature does not have the size of its key")
	ErrBadSignature  = errors.New("bad signature")
)

// Store is a set of keys with distinct ids. It does not change, and several goroutines may use it
// at once.
type Store struct{ keys []Key }

// New returns a store of the keys. It refuses ambiguous stores: two keys with the same id, and a
// key that occurs twice (with two ids, the writer of a signature could choose the key's validity).
func New(keys ...Key) (*Store, error) {
	if len(keys) == 0 {
		return nil, errors.New("trust store: no keys")
	}
	for i, k := range keys {
		if err := k.Check(); err != nil {
			return nil, fmt.Errorf("trust store: key %d: %v: %w", i+1, k.ID, err)
		}
		for _, other := range keys[:i] {
			if other.ID == k.ID {
				return nil, fmt.Errorf("trust store: key id %v stands twice", k.ID)
			}
			if other.RSA.Equal(k.RSA) {
				return nil, fmt.Errorf("trust store: %v is the same key as %v", k.ID, other.ID)
			}
		}
	}
	return &Store{slices.Clone(keys)}, nil
}

// Parse parses a store in the form that package keys writes. Only white space may surround the
// blocks.
func Parse(text []byte) (*Store, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("trust store: %d bytes, at most %d are allowed", len(text), MaxSize)
	}
	var keys []Key
	for text = bytes.TrimSpace(text); len(text) > 0; {
		k, rest, err := next(text)
		if err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", len(keys)+1, err)
		}
		keys, text = append(keys, *k), rest
	}
	return New(keys...)
}

// next removes the first key from the text of a store. Only white space may come before and after
// it.
//
// pem.Decode skips what it cannot read, so a damaged key would disappear from a store unnoticed. It
// also lets the last of doubled headers win. So the block must be exactly what pem.Encode writes.
func next(text []byte) (k *Key, rest []byte, err error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, nil, errors.New("no PEM block, or a damaged one")
	case block.Type == "CERTIFICATE":
		return nil, nil, ErrCertificate
	case block.Type != PEMType:
		return nil, nil, fmt.Errorf("PEM block is %q, want %q", block.Type, PEMType)
	case !bytes.Equal(bytes.TrimSpace(text[:len(text)-len(rest)]), bytes.TrimSpace(pem.EncodeToMemory(block))):
		return nil, nil, errors.New("PEM block is damaged, not alone or not in canonical form (headers sorted and single, lines of 64 characters, no carriage returns)")
	}
	if k, err = ParseDER(block.Bytes); err != nil {
		return nil, nil, err
	}
	if block.Headers[HeaderKeyID] == "" {
		return nil, nil, fmt.Errorf("header %s is missing", HeaderKeyID)
	}
	for name, value := range block.Headers {
		if err := k.set(name, value); err != nil {
			return nil, nil, fmt.Errorf("header %q: %w", name, err)
		}
	}
	return k, bytes.TrimSpace(rest), nil
}

// set sets the property of a header.
func (k *Key) set(name, value string) (err error) {
	switch {
	case value == "":
		return errors.New("empty")
	case name == HeaderKeyID:
		k.ID, err = digsig.ParseKeyID(value)
	case name == HeaderName:
		k.Name = value
	case name == HeaderNotBefore:
		k.NotBefore, err = parseTime(value)
	case name == HeaderNotAfter:
		k.NotAfter, err = parseTime(value)
	default:
		return errors.New("unknown")
	}
	return err
}

// Lookup returns a copy of the key with an id. It does not check the validity; see Verify and
// ValidAt.
func (t *Store) Lookup(id digsig.KeyID) (*Key, bool) {
	for _, k := range t.keys {
		if k.ID == id {
			return &k, true
		}
	}
	return nil, false
}

// Verify verifies that s is a signature over digest by a key of the store that is valid now, and
// returns that key. The signature is good only if the error is nil.
//
// For version 2, digest is the digest of the file's contents under s.Hash. For version 3, it is the
// digest of struct ima_file_id, also under s.Hash. See digsig.Signature.FileID.
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
	switch err := k.ValidAt(time.Now()); {
	case err != nil:
		return nil, err
	case len(s.Bytes) != k.RSA.Size():
		return nil, fmt.Errorf("%w: %d bytes, but key %v has %d", ErrSignatureSize, len(s.Bytes), k.ID, k.RSA.Size())
	case rsa.VerifyPKCS1v15(k.RSA, hash, digest, s.Bytes) != nil:
		return nil, fmt.Errorf("%w by key %v", ErrBadSignature, k.ID)
	}
	return k, nil
}

// Keys returns copies of all keys in the order of the store.
func (t *Store) Keys() []Key { return slices.Clone(t.keys) }

// FormatTime returns a time in the form of a trust store: RFC 3339, UTC, whole seconds.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseTime parses exactly the form that FormatTime returns.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || FormatTime(t) != s || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is not a time in the form 2006-01-02T15:04:05Z", s)
	}
	return t, nil
}
