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

// maxFile is the maximum size of a file: that of the largest trust store.
const maxFile = 1 << 20

// Errors that a caller can distinguish to give a hint.
var (
	ErrNoKeyID   = errors.New("certificate has no subject key identifier from which to take the IMA key id")
	ErrOtherKey  = errors.New("certificate belongs to another key")
	ErrAmbiguous = errors.New("certificates of the same key have different subject key identifiers")
	ErrChain     = errors.New("certificates of a chain, whose keys would all be trusted")
)

// Option modifies the key that is read from a certificate.
type Option func(*keys.PublicKey, *x509.Certificate)

// WithDates uses a certificate's notBefore and notAfter as the validity of the key.
func WithDates() Option {
	return func(k *keys.PublicKey, c *x509.Certificate) {
		k.NotBefore, k.NotAfter = c.NotBefore.UTC(), c.NotAfter.UTC()
	}
}

// LoadTrust returns a trust store of all keys in a file: certificates, bare public keys, entries of
// trust stores. It refuses chains; see ParseTrust.
func LoadTrust(ctx context.Context, path string, opts ...Option) (*keys.TrustStore, error) {
	return load(ctx, path, func(data []byte) (*keys.TrustStore, error) { return ParseTrust(data, opts...) })
}

// LoadOf returns the key pub as the file has it: with the id of its certificate, or as a bare key.
func LoadOf(ctx context.Context, path string, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	return load(ctx, path, func(data []byte) (*keys.PublicKey, error) { return ParseOf(data, pub, opts...) })
}

func load[T any](ctx context.Context, path string, parse func([]byte) (T, error)) (v T, err error) {
	data, err := input.Read(ctx, path, maxFile)
	if err != nil {
		return v, err
	}
	defer clear(data) // it may be a private key by mistake
	if v, err = parse(data); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// Parse returns all keys of a file in order.
func Parse(data []byte, opts ...Option) (all []*keys.PublicKey, err error) {
	entries, err := parse(data, opts)
	for _, e := range entries {
		all = append(all, e.key)
	}
	return all, err
}

// ParseTrust is LoadTrust for a file that was read already.
//
// It refuses a chain. A key that signs certificates makes signatures that are also valid for files,
// and others choose the contents of those. Whoever names a chain means its leaf.
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

// ParseOf is LoadOf for a file that was read already.
func ParseOf(data []byte, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	blocks, err := publicBlocks(data)
	if err != nil {
		return nil, err
	}
	return choose(blocks, pub, opts)
}

// Of returns the key pub with the id of its certificate, from the certificates beside its private
// key.
func Of(certificates [][]byte, pub *rsa.PublicKey, opts ...Option) (*keys.PublicKey, error) {
	var blocks []keyfile.Block
	for _, der := range certificates {
		blocks = append(blocks, keyfile.Block{Label: keyfile.Certificate, Bytes: der})
	}
	return choose(blocks, pub, opts)
}
