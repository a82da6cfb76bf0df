package certs

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/keyfile"
)

// entry is a key of a file.
type entry struct {
	key  *keys.PublicKey
	cert *x509.Certificate // nil if the key is not in a certificate
	bare bool              // the key is neither in a certificate nor in a trust store
}

func parse(data []byte, opts []Option) (entries []*entry, err error) {
	blocks, err := publicBlocks(data)
	if err != nil {
		return nil, err
	}
	for i, b := range blocks {
		e, err := parseBlock(b, opts)
		if err != nil {
			if len(blocks) > 1 {
				err = fmt.Errorf("key %d: %w", i+1, err)
			}
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// publicBlocks returns certificates and public keys. It refuses objects with other keys, by name,
// and ignores objects without a key, such as requests and parameters.
func publicBlocks(data []byte) (public []keyfile.Block, err error) {
	blocks, err := keyfile.Blocks(data)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		switch {
		case keyfile.IsPrivate(b.Label):
			defer keyfile.Clear(blocks)
			return nil, refusePrivate(b, blocks)
		case isCertificate(b), b.Label == keyfile.PublicKey, b.Label == keyfile.RSAPublicKey:
			public = append(public, b)
		case b.Label == keyfile.PKCS7, b.Label == keyfile.SSHPublic, b.Label == keyfile.SSH2:
			return nil, notPublic(b)
		}
	}
	if len(public) == 0 {
		return nil, notPublic(blocks[0])
	}
	return public, nil
}

func notPublic(b keyfile.Block) *keyfile.FormError {
	return &keyfile.FormError{Label: b.Label, Want: "a certificate or a public key", Public: true, DER: b.Text == nil}
}

// refusePrivate returns an error that names the private key, and a certificate beside it.
func refusePrivate(key keyfile.Block, all []keyfile.Block) error {
	err := notPublic(key)
	for _, b := range all {
		if isCertificate(b) {
			err.Beside, err.Want = keyfile.Certificate, "one without the private key"
		}
	}
	return err
}

func isCertificate(b keyfile.Block) bool {
	return b.Label == keyfile.Certificate || b.Label == keyfile.Trusted
}

func parseBlock(b keyfile.Block, opts []Option) (*entry, error) {
	switch {
	case isCertificate(b):
		return parseCertificate(b.Bytes, opts)
	case len(b.Headers) > 0: // an entry of a trust store
		store, err := keys.ParseTrustStore(b.Text)
		if err != nil {
			return nil, err
		}
		return &entry{key: store.Keys()[0]}, nil
	case b.Label == keyfile.RSAPublicKey:
		pub, err := x509.ParsePKCS1PublicKey(b.Bytes)
		if err != nil {
			return nil, errors.New("not an RSA public key")
		}
		k, err := keys.NewPublicKey(pub)
		return &entry{key: k, bare: true}, err
	}
	k, err := keys.ParsePublicDER(b.Bytes)
	return &entry{key: k, bare: true}, err
}

func parseCertificate(der []byte, opts []Option) (*entry, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		var object asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &object); err == nil && len(rest) > 0 {
			return nil, &keyfile.FormError{Label: keyfile.Trusted, Want: "a plain one", Public: true}
		}
		return nil, fmt.Errorf("certificate: %w", err)
	}
	k, err := certified(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	skid := cert.SubjectKeyId
	if len(skid) < len(k.ID) {
		return nil, fmt.Errorf("%w (it has %d bytes, and %d are needed)", ErrNoKeyID, len(skid), len(k.ID))
	}
	k.ID = ima.KeyID(skid[len(skid)-len(k.ID):])
	for _, opt := range opts {
		opt(k, cert)
	}
	return &entry{key: k, cert: cert}, nil
}

// certified returns the key of a certificate. keys.ParsePublicDER names the kinds of keys that
// crypto/x509 does not know.
func certified(cert *x509.Certificate) (*keys.PublicKey, error) {
	if pub, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		return keys.NewPublicKey(pub)
	}
	return keys.ParsePublicDER(cert.RawSubjectPublicKeyInfo)
}

// choose returns the key that is pub. It prefers a certificate to a bare key, and ignores errors in
// certificates of other keys.
func choose(blocks []keyfile.Block, pub *rsa.PublicKey, opts []Option) (*keys.PublicKey, error) {
	var best *entry
	var first error
	for _, b := range blocks {
		if cert, err := x509.ParseCertificate(b.Bytes); err == nil && !pub.Equal(cert.PublicKey) {
			continue
		}
		e, err := parseBlock(b, opts)
		switch {
		case err != nil:
			if first == nil {
				first = err
			}
		case !e.key.RSA.Equal(pub):
		case best == nil || best.cert == nil:
			best = e
		case e.cert != nil && e.key.ID != best.key.ID:
			return nil, fmt.Errorf("%w: key ids %v and %v", ErrAmbiguous, best.key.ID, e.key.ID)
		}
	}
	switch {
	case best != nil:
		return best.key, nil
	case first != nil:
		return nil, first
	}
	return nil, ErrOtherKey
}

// checkChain returns an error if the key of one entry has signed the certificate of another.
// Comparing names is not enough: the certificates of an old and a new key often have the same
// names.
func checkChain(entries []*entry) error {
	for _, issuer := range entries {
		for _, e := range entries {
			if issuer.cert == nil || e.cert == nil || e.key.RSA.Equal(issuer.key.RSA) || !bytes.Equal(e.cert.RawIssuer, issuer.cert.RawSubject) {
				continue
			}
			if issuer.cert.CheckSignature(e.cert.SignatureAlgorithm, e.cert.RawTBSCertificate, e.cert.Signature) == nil {
				return fmt.Errorf("%w: the key %v has signed the certificate of %v", ErrChain, issuer.key.ID, e.key.ID)
			}
		}
	}
	return nil
}

// distinct removes duplicates: keys with the same id and name (of a renewed certificate), and the
// bare key of a certificate (which 'openssl x509 -pubkey' writes before it).
func distinct(entries []*entry) (all []*keys.PublicKey) {
	for i, e := range entries {
		repeats := func(other *entry) bool {
			if other.cert == nil || !e.key.RSA.Equal(other.key.RSA) {
				return false
			}
			return e.bare || e.cert != nil && slices.Index(entries, other) < i && same(e.key, other.key)
		}
		if !slices.ContainsFunc(entries, repeats) {
			all = append(all, e.key)
		}
	}
	return all
}

// Distinct drops each key that repeats an earlier one, such as a certificate beside the trust
// store that was made of it, and each bare key of which another one says more.
func Distinct(all []*keys.PublicKey) (list []*keys.PublicKey) {
	for i, k := range all {
		bare := k.Name == "" && k.NotBefore.IsZero() && k.NotAfter.IsZero()
		saysMore := func(other *keys.PublicKey) bool {
			return bare && k.ID == other.ID && k.RSA.Equal(other.RSA) && !same(k, other)
		}
		saysTheSame := func(other *keys.PublicKey) bool { return same(k, other) }
		if !slices.ContainsFunc(all, saysMore) && !slices.ContainsFunc(all[:i], saysTheSame) {
			list = append(list, k)
		}
	}
	return list
}

// same reports whether all properties that a trust store keeps are equal.
func same(a, b *keys.PublicKey) bool {
	return a.ID == b.ID && a.RSA.Equal(b.RSA) && a.Name == b.Name && a.NotBefore.Equal(b.NotBefore) && a.NotAfter.Equal(b.NotAfter)
}
