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

// MaxSize bounds the text of a trust store; it has room for a thousand keys.
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

// Why something is not a trust store, or a signature does not verify.
var (
	ErrCertificate   = errors.New(`PEM block is "CERTIFICATE", want "PUBLIC KEY"`)
	ErrHash          = errors.New("hash is not allowed")
	ErrDigestSize    = errors.New("digest does not have the size of its hash")
	ErrUnknownKey    = errors.New("unknown key")
	ErrNotValid      = errors.New("key is not valid now")
	ErrSignatureSize = errors.New("signature does not have the size of its key")
	ErrBadSignature  = errors.New("bad signature")
)

// Store is a set of keys, no two with the same id. It does not change, and may be used
// by several goroutines at once.
type Store struct{ keys []Key }

// New makes a store of the keys, and refuses what could make it ambiguous: an id that
// stands for two keys, and a key that stands in it twice (with two ids, its validity
// could be chosen by whoever writes the id).
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

// Parse reads a store as package keys writes it. White space may stand
// around the blocks, nothing else may.
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

// next takes the first key off the text of a store. White space may stand before it and behind
// it, nothing else may.
//
// pem.Decode skips what it cannot read, so that a damaged key would vanish from
// a store without a word, and lets the last of doubled headers win. So the block
// must be exactly what pem.Encode makes of it.
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

// set takes what a header says.
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

// Lookup finds a key by its id, and gives a copy. Whether it is valid now is for Verify
// or ValidAt.
func (t *Store) Lookup(id digsig.KeyID) (*Key, bool) {
	for _, k := range t.keys {
		if k.ID == id {
			return &k, true
		}
	}
	return nil, false
}

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

// Keys gives copies of all keys in the order in which the store has them.
func (t *Store) Keys() []Key { return slices.Clone(t.keys) }

// FormatTime gives a moment as a trust store has it: RFC 3339, UTC, whole seconds.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseTime reads RFC 3339 in UTC and whole seconds, the one form that
// FormatTime writes.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || FormatTime(t) != s || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is not a time in the form 2006-01-02T15:04:05Z", s)
	}
	return t, nil
}
