package certs

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/keys/keyfile"
)

// maxFile bounds what is read of a file: the size of the largest trust store.
const maxFile = 1 << 20

// What a caller may want to tell apart, to say what can be done about it.
var (
	ErrNoKeyID   = errors.New("certificate has no subject key identifier from which to take the IMA key id")
	ErrOtherKey  = errors.New("certificate belongs to another key")
	ErrAmbiguous = errors.New("certificates of the same key have different subject key identifiers")
	ErrChain     = errors.New("certificates of a chain, whose keys would all be trusted")
)

// Option changes what is taken from a certificate.
type Option func(*keys.PublicKey, *x509.Certificate)

// WithDates makes a certificate's notBefore and notAfter the validity of the key.
func WithDates() Option {
	return func(k *keys.PublicKey, c *x509.Certificate) {
		k.NotBefore, k.NotAfter = c.NotBefore.UTC(), c.NotAfter.UTC()
	}
}

// LoadTrust makes a trust store of all keys that a file holds: certificates, bare
// public keys, entries of trust stores.
func LoadTrust(ctx context.Context, path string, opts ...Option) (*keys.TrustStore, error) {
	return load(ctx, path, func(data []byte) (*keys.TrustStore, error) { return ParseTrust(data, opts...) })
}

// LoadOf finds the certificate of pub among those in a file, or its bare key.
func LoadOf(ctx context.Context, path string, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	return load(ctx, path, func(data []byte) (*keys.PublicKey, error) { return ParseOf(data, pub, opts...) })
}

func load[T any](ctx context.Context, path string, parse func([]byte) (T, error)) (v T, err error) {
	data, err := input.Read(ctx, path, maxFile)
	if err != nil {
		return v, err
	}
	defer clear(data) // it may be a private key, by mistake
	if v, err = parse(data); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// Parse gives all keys that a file holds, in their order.
func Parse(data []byte, opts ...Option) (all []*keys.PublicKey, err error) {
	entries, err := parse(data, opts)
	for _, e := range entries {
		all = append(all, e.key)
	}
	return all, err
}

// ParseTrust is LoadTrust for what has been read already.
//
// It refuses a chain. Who signs certificates with a key makes signatures that hold for
// files, too, over contents that others chose; and who names a chain means its leaf.
func ParseTrust(data []byte, opts ...Option) (*keys.TrustStore, error) {
	entries, err := parse(data, opts)
	if err != nil {
		return nil, err
	}
	if err := checkChain(entries); err != nil {
		return nil, err
	}
	return keys.NewTrustStore(distinct(entries)...)
}

// ParseOf is LoadOf for what has been read already.
func ParseOf(data []byte, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	blocks, err := publicBlocks(data)
	if err != nil {
		return nil, err
	}
	return choose(blocks, pub, opts)
}

// Of finds the certificate of pub among those that lay beside its private key.
func Of(certificates [][]byte, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	var blocks []keyfile.Block
	for _, der := range certificates {
		blocks = append(blocks, keyfile.Block{Label: keyfile.Certificate, Bytes: der})
	}
	return choose(blocks, pub, opts)
}
