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

// Bounds on what is accepted as a key.
const (
	MinBits = 2048 // NIST SP 800-131A
	MaxBits = 8192 // a larger one would only make verification slow

	// minExponent keeps small public exponents out, as FIPS 186-5 does
	// (2^16 < e, and odd).
	minExponent = 1<<16 + 1

	maxName = 128
)

// Key is an RSA key that signatures may be verified with.
type Key struct {
	RSA  *rsa.PublicKey
	ID   digsig.KeyID // by which signatures name it
	Name string       // for people; may be empty

	// The first and the last moment at which the key verifies anything, in whole
	// seconds; zero is open.
	NotBefore, NotAfter time.Time
}

// Check refuses a key that must not be used.
func (k *Key) Check() error {
	switch pub := k.RSA; {
	case pub == nil || pub.N == nil:
		return errors.New("no key")
	case pub.N.Sign() <= 0 || pub.N.BitLen() < MinBits || pub.N.BitLen() > MaxBits:
		return fmt.Errorf("RSA key of %d bits, allowed are %d to %d", pub.N.BitLen(), MinBits, MaxBits)
	case pub.N.Bit(0) == 0:
		return errors.New("RSA modulus is even")
	case pub.E < minExponent || pub.E&1 == 0 || pub.E > 1<<31-1:
		return fmt.Errorf("RSA exponent %d is not an odd number from %d to 2^31-1", pub.E, minExponent)
	case !k.NotAfter.IsZero() && k.NotAfter.Before(k.NotBefore):
		return errors.New("validity ends before it begins")
	}
	return CheckName(k.Name)
}

// CheckName refuses what cannot be the name of a key in a trust store.
func CheckName(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(name) > maxName || !utf8.ValidString(name) || name != strings.TrimSpace(name) || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("key name %q is not plain text of at most %d bytes", name, maxName)
	}
	return nil
}

// ValidAt reports, with an error that wraps ErrNotValid, that the key must not
// verify anything at t.
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

// rsaEncryption is of RFC 8017, appendix A.1: without parameters, which is written NULL.
var rsaEncryption = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}

// ParseDER reads an RSA key from a DER SubjectPublicKeyInfo. It has no id. rsa.PublicKey has
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
	// Of another algorithm, or with what asn1.Unmarshal lets stand behind a value or
	// overlooks at the end of a sequence.
	if !bytes.Equal(der, k.MarshalDER()) {
		return nil, errors.New("RSA public key is not in canonical form (rsaEncryption, no algorithm parameters, nothing behind it)")
	}
	return k, nil
}

// MarshalDER gives the key as DER SubjectPublicKeyInfo.
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
