package private

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/vmseal/vmseal/keys/keyfile"
)

// wanted describes the contents of a key file.
const wanted = "an RSA private key in PEM, DER or PKCS #12"

// IsIn reports whether a file contains a private key, or may contain one, so that Parse should
// handle it.
func IsIn(text []byte) bool {
	blocks, err := keyfile.Blocks(text)
	if err != nil {
		return false
	}
	defer keyfile.Clear(blocks)
	for _, b := range blocks {
		if keyfile.IsPrivate(b.Label) {
			return true
		}
	}
	return false
}

// Parse is Open for a file that was read already. where names the file in errors and prompts.
func Parse(ctx context.Context, text []byte, where string, opt Options) (*Key, error) {
	k, err := parse(ctx, text, where, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	k.Name = where
	return k, nil
}

func parse(ctx context.Context, text []byte, where string, opt Options) (*Key, error) {
	blocks, err := keyfile.Blocks(text)
	if err != nil {
		return nil, err
	}
	defer keyfile.Clear(blocks)
	only, certificates, err := onlyKey(blocks)
	if err != nil {
		return nil, err
	}
	ask := func() ([]byte, error) { return opt.passphrase(ctx, where) }
	if only.Label == keyfile.PKCS12 {
		return parsePKCS12(only.Bytes, ask)
	}
	priv, err := parseBlock(only, ask)
	if err != nil {
		return nil, err
	}
	return newKey(priv, certificates)
}

// onlyKey returns the only private key of a file and the certificates beside it. It ignores other
// objects, such as parameters and requests.
func onlyKey(blocks []keyfile.Block) (only keyfile.Block, certificates [][]byte, err error) {
	n := 0
	for _, b := range blocks {
		switch {
		case keyfile.IsPrivate(b.Label):
			n++
			only = b
		case b.Label == keyfile.Certificate, b.Label == keyfile.Trusted:
			certificates = append(certificates, bytes.Clone(b.Bytes))
		}
	}
	switch {
	case n == 0:
		err = &keyfile.FormError{Label: blocks[0].Label, Want: wanted}
	case n > 1:
		err = fmt.Errorf("holds %d private keys, but %w", n, ErrSeveral)
	}
	return only, certificates, err
}

// parseBlock parses the private key in a block. ask returns the passphrase.
func parseBlock(b keyfile.Block, ask func() ([]byte, error)) (*rsa.PrivateKey, error) {
	switch b.Label {
	case keyfile.PKCS8, keyfile.PKCS1:
		if b.Headers["DEK-Info"] != "" {
			return parseOldEncrypted(b, ask)
		}
		return parseDER(b.Bytes)
	case keyfile.EncryptedPKCS8:
		return parseEncrypted(b.Bytes, ask)
	case keyfile.Sigstore, keyfile.Cosign:
		return parseSigstore(b.Text, ask)
	case keyfile.OpenSSH:
		return nil, openSSHError(b.Bytes)
	case keyfile.EC, keyfile.DSA:
		return nil, fmt.Errorf("%w but %s", ErrNotRSA, keyfile.Name(b.Label))
	}
	return nil, &keyfile.FormError{Label: b.Label, Want: wanted}
}

// parseSigstore parses a key that sigstore's tools have encrypted. The library accepts only the
// parameters that these tools write.
func parseSigstore(text []byte, ask func() ([]byte, error)) (*rsa.PrivateKey, error) {
	pass, err := ask()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.StaticPasswordFunc(pass))
	if err != nil {
		return nil, errPassphraseOrDamage
	}
	return rsaKey(key)
}
