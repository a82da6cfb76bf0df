package private

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vmseal/vmseal/keys/keyfile"
)

// openSSHError returns the error for a private key in OpenSSH's own format. If it is not an RSA
// key, the error says so, because converting the key with ssh-keygen would not help.
func openSSHError(key []byte) error {
	if kind := openSSHKind(key); kind != "" && kind != "ssh-rsa" {
		return fmt.Errorf("%w but an OpenSSH key of type %q", ErrNotRSA, kind)
	}
	return &keyfile.FormError{Label: keyfile.OpenSSH, Want: wanted}
}

// openSSHKind returns the type of the first public key, which is not encrypted, or "" if it cannot
// be parsed: openssh-key-v1 of OpenSSH's PROTOCOL.key, section 1.
func openSSHKind(key []byte) string {
	rest, ok := bytes.CutPrefix(key, []byte("openssh-key-v1\x00"))
	next := func() (s []byte) {
		if !ok || len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			ok = false
			return nil
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		s, rest = rest[4:n], rest[n:]
		return s
	}
	next() // cipher
	next() // key derivation
	next() // its options
	if !ok || len(rest) < 4 {
		return ""
	}
	rest = rest[4:] // number of keys
	rest = next()   // the first public key, which begins with its type
	return string(next())
}
