package trust

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vmseal/vmseal/formats/digsig"
)

// Bounds on the size of keys.
const (
	MinBits = 2048 // NIST SP 800-131A
	MaxBits = 8192 // a larger key would only make verification slow

	// minExponent excludes small public exponents, as FIPS 186-5 does (2^16 < e, and odd).
	minExponent = 1<<16 + 1

	maxName = 128
)

// Key is an RSA key that verifies signatures.
type Key struct {
	RSA  *rsa.PublicKey
	ID   digsig.KeyID // key id in its signatures
	Name string       // for people; may be empty

	// The first and the last moment at which the key is valid, in whole seconds. Zero means no
	// limit.
	NotBefore, NotAfter time.Time
}

// Check returns an error if the key must not be used.
func (k *Key) Check() error {
	switch pub := k.RSA; {
	case pub == nil || pub.N == nil:
		return errors.New("no key")
	case pub.N.Sign() <= 0 || pub.N.BitLen() < MinBits || pub.N.BitLen() > MaxBits:
		return fmt.Errorf("RSA key of %d bits, but %d to %d are allowed", pub.N.BitLen(), MinBits, MaxBits)
	case pub.N.Bit(0) == 0:
		return errors.New("RSA modulus is even")
	case pub.E < minExponent || pub.E&1 == 0 || pub.E > 1<<31-1:
		return fmt.Errorf("RSA exponent %d is not an odd number from %d to 2^31-1", pub.E, minExponent)
	case !k.NotAfter.IsZero() && k.NotAfter.Before(k.NotBefore):
		return errors.New("validity ends before it begins")
	}
	return CheckName(k.Name)
}

// CheckName returns an error if name cannot be the name of a key in a trust store.
func CheckName(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(name) > maxName || !utf8.ValidString(name) || name != strings.TrimSpace(name) || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("key name %q is not plain text of at most %d bytes", name, maxName)
	}
	return nil
}

// ValidAt returns an error that wraps ErrNotValid unless the key is valid at t.
func (k *Key) ValidAt(t time.Time) error {
	if t.Before(k.NotBefore) {
		return fmt.Errorf("%w: key %v is valid from %s", ErrNotValid, k.ID, FormatTime(k.NotBefore))
	}
	if !k.NotAfter.IsZero() && t.After(k.NotAfter) {
		return fmt.Errorf("%w: key %v was valid until %s", ErrNotValid, k.ID, FormatTime(k.NotAfter))
	}
	return nil
}

// subjectPublicKeyInfo is SubjectPublicKeyInfo of RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

// rsaEncryption is the algorithm identifier of RFC 8017, appendix A.1. Its parameters are NULL.
var rsaEncryption = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}

// ParseDER parses an RSA key from a DER SubjectPublicKeyInfo. The key has no id. rsa.PublicKey has
// the members of RSAPublicKey (RFC 8017, appendix A.1.1), in that order.
func ParseDER(der []byte) (*Key, error) {
	var info subjectPublicKeyInfo
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("not a public key: %w", err)
	}
	k := &Key{RSA: new(rsa.PublicKey)}
	if _, err := asn1.Unmarshal(info.PublicKey.Bytes, k.RSA); err != nil {
		return nil, fmt.Errorf("not an RSA public key: %w", err)
	}
	if err := k.Check(); err != nil {
		return nil, err
	}
	// The comparison refuses other algorithms, and data that asn1.Unmarshal ignores after a value
	// or at the end of a sequence.
	if !bytes.Equal(der, k.MarshalDER()) {
		return nil, errors.New("RSA public key is not in canonical form (rsaEncryption, no algorithm parameters, nothing behind it)")
	}
	return k, nil
}

// MarshalDER returns the key as a DER SubjectPublicKeyInfo.
func (k *Key) MarshalDER() []byte {
	b, err := asn1.Marshal(*k.RSA)
	if err == nil {
		b, err = asn1.Marshal(subjectPublicKeyInfo{rsaEncryption, asn1.BitString{Bytes: b, BitLength: 8 * len(b)}})
	}
	if err != nil {
		panic("encoding a public key: " + err.Error())
	}
	return b
}
