package certs

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/input"
)

// maxFile bounds what is read of a file: the size of the largest trust store.
const maxFile = 1 << 20

// Option changes what is taken from a certificate.
type Option func(*keys.PublicKey, *x509.Certificate)

// WithDates makes a certificate's notBefore and notAfter the validity of the key.
func WithDates() Option {
	return func(k *keys.PublicKey, c *x509.Certificate) {
		k.NotBefore, k.NotAfter = c.NotBefore.UTC(), c.NotAfter.UTC()
	}
}

// Load reads one certificate or bare public key from a file.
func Load(ctx context.Context, path string, opts ...Option) (*keys.PublicKey, error) {
	data, err := input.Read(ctx, path, maxFile)
	if err != nil {
		return nil, err
	}
	k, err := Parse(data, opts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// LoadTrust reads a trust store from a file, or makes one of a single
// certificate or bare public key.
func LoadTrust(ctx context.Context, path string, opts ...Option) (*keys.TrustStore, error) {
	data, err := input.Read(ctx, path, maxFile)
	if err != nil {
		return nil, err
	}
	t, err := ParseTrust(data, opts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTrust is LoadTrust for what has been read already. It takes for a trust
// store what is a public key with PEM headers.
func ParseTrust(data []byte, opts ...Option) (*keys.TrustStore, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == "PUBLIC KEY" && len(block.Headers) > 0 {
		return keys.ParseTrustStore(data)
	}
	k, err := Parse(data, opts...)
	if err != nil {
		return nil, err
	}
	return keys.NewTrustStore(k)
}

// Parse reads one certificate or bare public key, PEM or DER.
func Parse(data []byte, opts ...Option) (*keys.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return parseDER(data, opts)
	}
	if more, _ := pem.Decode(rest); more != nil || bytes.Count(data, []byte("-----BEGIN ")) != 1 {
		return nil, errors.New("holds several PEM blocks, but one key is wanted")
	}
	switch block.Type {
	case "CERTIFICATE":
		return parseCertificate(block.Bytes, opts)
	case "PUBLIC KEY":
		return keys.ParsePublicPEM(data)
	case "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY":
		return nil, errors.New("holds a private key, but a certificate or a public key is wanted")
	}
	return nil, fmt.Errorf("PEM block %q is neither a certificate nor a public key", block.Type)
}

func parseDER(der []byte, opts []Option) (*keys.PublicKey, error) {
	k, keyErr := keys.ParsePublicDER(der)
	if keyErr == nil {
		return k, nil
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return nil, keyErr // a public key, but not one for us
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return nil, errors.New("neither PEM nor a DER certificate or public key")
	}
	return parseCertificate(der, opts)
}

func parseCertificate(der []byte, opts []Option) (*keys.PublicKey, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pub, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("certificate: not an RSA key but %v", cert.PublicKeyAlgorithm)
	}
	k, err := keys.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	skid := cert.SubjectKeyId
	if len(skid) == 0 {
		return nil, errors.New("certificate: no subject key identifier, so it has no IMA key id")
	}
	if len(skid) < len(ima.KeyID{}) {
		return nil, fmt.Errorf("certificate: a subject key identifier of %d bytes is too short for an IMA key id", len(skid))
	}
	k.ID = ima.KeyID(skid[len(skid)-len(ima.KeyID{}):])
	for _, opt := range opts {
		opt(k, cert)
	}
	return k, nil
}
