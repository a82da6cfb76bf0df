package private

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/vmseal/vmseal/keys"
)

const (
	pemPKCS8     = "PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
	pemPKCS1     = "RSA PRIVATE KEY"
	pemEC        = "EC PRIVATE KEY"
	pemDSA       = "DSA PRIVATE KEY"
)

// Parse is Open for a PEM text that has been read already. where names it, in
// errors and for a prompt.
func Parse(ctx context.Context, text []byte, where string, opt Options) (crypto.Signer, error) {
	s, err := parse(ctx, text, where, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return s, nil
}

func parse(ctx context.Context, text []byte, where string, opt Options) (crypto.Signer, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, err
	}
	defer clear(block.Bytes)
	pass := cryptoutils.SkipPassword
	switch block.Type {
	case pemPKCS8, pemPKCS1:
		if _, old := block.Headers["DEK-Info"]; old {
			return nil, ErrLegacyEncryption
		}
	case pemEncrypted:
		if err := checkPBES2(block.Bytes); err != nil {
			return nil, err
		}
		p, err := opt.passphrase(ctx, where)
		if err != nil {
			return nil, err
		}
		defer clear(p)
		pass = cryptoutils.StaticPasswordFunc(p)
	case pemEC, pemDSA:
		return nil, fmt.Errorf("%w: %s", ErrNotRSA, block.Type)
	default:
		return nil, fmt.Errorf("PEM block %q is not a private key", block.Type)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, pass)
	if err != nil {
		return nil, parseError(block.Type)
	}
	return newSigner(key)
}

// parseError stands in for the libraries' own errors, which might quote what
// they could not read. Decryption has no check of its own, so that the wrong
// passphrase shows as something that is no key.
func parseError(label string) error {
	if label == pemEncrypted {
		return fmt.Errorf("%w (or a damaged key)", ErrPassphrase)
	}
	return errors.New("damaged private key, or not one that can be read")
}

// onlyBlock finds the PEM block. Text around it is allowed, as RFC 7468 has it,
// and openssl writes some; a second block is not: evmctl takes the key id from a
// certificate beside the key, and here it has to be said.
func onlyBlock(text []byte) (*pem.Block, error) {
	block, _ := pem.Decode(text)
	n := bytes.Count(text, []byte("-----BEGIN "))
	switch {
	case n == 0:
		return nil, errors.New("not PEM")
	case n > 1:
		return nil, fmt.Errorf("holds %d PEM blocks, but one private key is wanted", n)
	case block == nil:
		return nil, errors.New("PEM block is damaged")
	}
	return block, nil
}

// rsaKey refuses what is not an RSA key that can sign here, by name.
func rsaKey(key any) (*rsa.PrivateKey, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if _, err := keys.NewPublicKey(&key.PublicKey); err != nil {
			return nil, err
		}
		return key, nil
	case *ecdsa.PrivateKey:
		return nil, fmt.Errorf("%w but an elliptic curve key (%s)", ErrNotRSA, key.Curve.Params().Name)
	case ed25519.PrivateKey:
		return nil, fmt.Errorf("%w but an Ed25519 key", ErrNotRSA)
	case *ecdh.PrivateKey:
		return nil, fmt.Errorf("%w but an X25519 key", ErrNotRSA)
	}
	return nil, fmt.Errorf("%w but %T", ErrNotRSA, key)
}
