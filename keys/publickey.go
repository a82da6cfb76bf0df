package keys

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vmseal/vmseal/formats/ima"
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

// PublicKey is an RSA key that signatures may be verified with.
type PublicKey struct {
	RSA  *rsa.PublicKey
	ID   ima.KeyID // by which values name it
	Name string    // for people; may be empty

	// The first and the last moment at which the key verifies anything, in whole
	// seconds; zero is open.
	NotBefore, NotAfter time.Time
}

// NewPublicKey makes a key with the id of a bare key.
func NewPublicKey(pub *rsa.PublicKey) (*PublicKey, error) {
	k := &PublicKey{RSA: pub}
	if err := k.check(); err != nil {
		return nil, err
	}
	id := k.SubjectKeyID()
	k.ID = ima.KeyID(id[len(id)-len(k.ID):])
	return k, nil
}

// SubjectKeyID is SHA-1 over the PKCS #1 form of the key: method 1 of RFC 5280,
// section 4.2.1.2. A certificate made with another method has another one.
func (k *PublicKey) SubjectKeyID() [sha1.Size]byte { return sha1.Sum(marshalPKCS1(k.RSA)) }

// Fingerprint is SHA-256 over the SubjectPublicKeyInfo, in lower-case hex.
func (k *PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.MarshalDER())
	return hex.EncodeToString(sum[:])
}

// ValidAt reports, with an error that wraps ErrNotValid, that the key must not
// verify anything at t.
func (k *PublicKey) ValidAt(t time.Time) error {
	if !k.NotBefore.IsZero() && t.Before(k.NotBefore) {
		return fmt.Errorf("%w: key %v is valid from %s", ErrNotValid, k.ID, formatTime(k.NotBefore))
	}
	if !k.NotAfter.IsZero() && t.After(k.NotAfter) {
		return fmt.Errorf("%w: key %v was valid until %s", ErrNotValid, k.ID, formatTime(k.NotAfter))
	}
	return nil
}

func (k *PublicKey) check() error {
	if err := checkRSA(k.RSA); err != nil {
		return err
	}
	if err := CheckName(k.Name); err != nil {
		return err
	}
	return k.checkValidity()
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil {
		return errors.New("no key")
	}
	if bits := pub.N.BitLen(); pub.N.Sign() <= 0 || bits < MinBits {
		return fmt.Errorf("RSA key of %d bits, at least %d are needed", bits, MinBits)
	} else if bits > MaxBits {
		return fmt.Errorf("RSA key of %d bits, at most %d are allowed", bits, MaxBits)
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

func (k *PublicKey) checkValidity() error {
	for _, t := range []time.Time{k.NotBefore, k.NotAfter} {
		if t.IsZero() {
			continue
		}
		if t.Nanosecond() != 0 || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			return errors.New("validity is not in whole seconds of the years 1 to 9999")
		}
	}
	if !k.NotBefore.IsZero() && !k.NotAfter.IsZero() && k.NotAfter.Before(k.NotBefore) {
		return errors.New("validity ends before it begins")
	}
	return nil
}

// pkcs1PublicKey is RSAPublicKey of RFC 8017, appendix A.1.1.
type pkcs1PublicKey struct {
	N *big.Int
	E int
}

func marshalPKCS1(pub *rsa.PublicKey) []byte {
	der, err := asn1.Marshal(pkcs1PublicKey{pub.N, pub.E})
	if err != nil {
		panic("encoding two integers: " + err.Error())
	}
	return der
}
