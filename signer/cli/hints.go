package cli

import (
	"errors"

	"github.com/vmseal/vmseal/keys/private"
)

// hintOf gives the hint that an error carries, or else the first that is known.
func hintOf(err error, hints []Hints) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	for _, find := range hints {
		if hint := find(err); hint != "" {
			return hint
		}
	}
	return ""
}

// keyHint knows what may be wrong with a private key.
func keyHint(err error) string {
	switch {
	case errors.Is(err, private.ErrPassphraseRequired):
		return "give --passphrase-file FILE, set " + passphraseVariable + ", or run on a terminal"
	case errors.Is(err, private.ErrPassphrase):
		return "a passphrase file holds one line; a line end behind it does not count"
	case errors.Is(err, private.ErrLegacyEncryption), errors.Is(err, private.ErrEncryption):
		return "convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in OLD.pem -out NEW.pem"
	case errors.Is(err, private.ErrScheme):
		return "a key is the path of a PEM file, or env://VARIABLE that holds the PEM text"
	case errors.Is(err, private.ErrNotRSA):
		return "IMA labels of this kind are RSA signatures; 'signer key new --out DIR' makes a key"
	case errors.Is(err, private.ErrExposed):
		return "chmod 600 keeps it to its owner"
	}
	return ""
}
