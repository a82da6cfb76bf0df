package trust

import (
	"bytes"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
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
	if err := checkRSA(k.RSA); err != nil {
		return err
	}
	if !k.NotBefore.IsZero() && !k.NotAfter.IsZero() && k.NotAfter.Before(k.NotBefore) {
		return errors.New("validity ends before it begins")
	}
	return CheckName(k.Name)
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil {
		return errors.New("no key")
	}
	if bits := pub.N.BitLen(); pub.N.Sign() <= 0 || bits < MinBits || bits > MaxBits {
		return fmt.Errorf("RSA key of %d bits, allowed are %d to %d", bits, MinBits, MaxBits)
	}
	if pub.N.Bit(0) == 0 {
		return errors.New("RSA modulus is even")
	}
	if pub.E < minExponent || pub.E&1 == 0 || pub.E > 1<<31-1 {
		return fmt.Errorf("RSA exponent %d is not an odd number from %d to 2^31-1", pub.E, minExponent)
	}
	return nil
}

// CheckName refuses what cannot be the name of a key in a trust store.
func CheckName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("key name of %d bytes, at most %d are allowed", len(name), maxName)
	}
	notPlain := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, notPlain) || name != strings.TrimSpace(name) {
		return fmt.Errorf("key name %q is not plain text", name)
	}
	return nil
}

// ValidAt reports, with an error that wraps ErrNotValid, that the key must not
// verify anything at t.
func (k *Key) ValidAt(t time.Time) error {
	if !k.NotBefore.IsZero() && t.Before(k.NotBefore) {
		return fmt.Errorf("%w: key %v is valid from %s", ErrNotValid, k.ID, FormatTime(k.NotBefore))
	}
	if !k.NotAfter.IsZero() && t.After(k.NotAfter) {
		return fmt.Errorf("%w: key %v was valid until %s", ErrNotValid, k.ID, FormatTime(k.NotAfter))
	}
	return nil
}

// subjectPublicKeyInfo is SubjectPublicKeyInfo of RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	Algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	PublicKey asn1.BitString
}

// rsaEncryption is of RFC 8017, appendix A.1.
var rsaEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// pkcs1PublicKey is RSAPublicKey of RFC 8017, appendix A.1.1.
type pkcs1PublicKey struct {
	N *big.Int
	E int
}

// AlgorithmError is that of a key which is no RSA key.
type AlgorithmError struct{ Algorithm asn1.ObjectIdentifier }

func (e *AlgorithmError) Error() string {
	return fmt.Sprintf("not an RSA key but one of algorithm %v", e.Algorithm)
}

// ParseDER reads an RSA key from a DER SubjectPublicKeyInfo. It has no id.
func ParseDER(der []byte) (*Key, error) {
	var info subjectPublicKeyInfo
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("not a public key: %w", err)
	}
	if alg := info.Algorithm.Algorithm; !alg.Equal(rsaEncryption) {
		return nil, &AlgorithmError{alg}
	}
	var pub pkcs1PublicKey
	if _, err := asn1.Unmarshal(info.PublicKey.Bytes, &pub); err != nil {
		return nil, fmt.Errorf("not an RSA public key: %w", err)
	}
	k := &Key{RSA: &rsa.PublicKey{N: pub.N, E: pub.E}}
	if err := k.Check(); err != nil {
		return nil, err
	}
	// What asn1.Unmarshal lets stand behind a value, or more members of a sequence.
	if !bytes.Equal(der, k.MarshalDER()) {
		return nil, errors.New("RSA public key is not in canonical form (no algorithm parameters, nothing behind it)")
	}
	return k, nil
}

// MarshalDER gives the key as DER SubjectPublicKeyInfo.
func (k *Key) MarshalDER() []byte {
	var info subjectPublicKeyInfo
	info.Algorithm.Algorithm = rsaEncryption
	info.Algorithm.Parameters = asn1.NullRawValue
	pkcs1 := k.MarshalPKCS1()
	info.PublicKey = asn1.BitString{Bytes: pkcs1, BitLength: 8 * len(pkcs1)}
	return marshal(info)
}

// MarshalPKCS1 gives the key as DER RSAPublicKey.
func (k *Key) MarshalPKCS1() []byte { return marshal(pkcs1PublicKey{k.RSA.N, k.RSA.E}) }

func marshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic("encoding a public key: " + err.Error())
	}
	return der
}
