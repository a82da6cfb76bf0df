package keys

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/trust"
)

// Bounds on the size of keys.
const (
	MinBits = trust.MinBits
	MaxBits = trust.MaxBits
)

// ErrNotRSA is returned, wrapped, for a public key of another kind.
var ErrNotRSA = errors.New("not an RSA key")

// PublicKey is an RSA key that verifies signatures.
type PublicKey = trust.Key

// NewPublicKey returns a key with the id of a key without a certificate.
func NewPublicKey(pub *rsa.PublicKey) (*PublicKey, error) {
	k := &PublicKey{RSA: pub}
	if err := k.Check(); err != nil {
		return nil, err
	}
	setID(k)
	return k, nil
}

func setID(k *PublicKey) {
	id := SubjectKeyID(k)
	k.ID = ima.KeyID(id[len(id)-len(k.ID):])
}

// SubjectKeyID returns SHA-1 over the PKCS #1 form of the key: method 1 of RFC 5280, section
// 4.2.1.2. A certificate may use another method and have another identifier.
func SubjectKeyID(k *PublicKey) [sha1.Size]byte {
	der, err := asn1.Marshal(struct { // RSAPublicKey of RFC 8017, appendix A.1.1
		N *big.Int
		E int
	}{k.RSA.N, k.RSA.E})
	if err != nil {
		panic("encoding a public key: " + err.Error())
	}
	return sha1.Sum(der)
}

// Fingerprint returns SHA-256 over the SubjectPublicKeyInfo in lower-case hex.
func Fingerprint(k *PublicKey) string {
	sum := sha256.Sum256(k.MarshalDER())
	return hex.EncodeToString(sum[:])
}

// CheckName returns an error if name cannot be the name of a key in a trust store.
func CheckName(name string) error { return trust.CheckName(name) }

// algorithms names keys that people may have instead of RSA keys.
var algorithms = map[string]string{
	"1.2.840.10045.2.1":     "an elliptic curve key",
	"1.3.101.110":           "an X25519 key",
	"1.3.101.111":           "an X448 key",
	"1.3.101.112":           "an Ed25519 key",
	"1.3.101.113":           "an Ed448 key",
	"1.2.840.10040.4.1":     "a DSA key",
	"1.2.840.113549.1.3.1":  "a Diffie-Hellman key",
	"1.2.840.113549.1.1.10": "an RSA key for PSS only",
}

// rsaEncryption is the algorithm identifier of RFC 8017, appendix A.1.
var rsaEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// AlgorithmName returns the name of a kind of key from the algorithm of a SubjectPublicKeyInfo or a
// PrivateKeyInfo.
func AlgorithmName(oid asn1.ObjectIdentifier) string {
	if name := algorithms[oid.String()]; name != "" {
		return name
	}
	return "a key for algorithm " + oid.String()
}

// ParsePublicDER parses an RSA key from a DER SubjectPublicKeyInfo. The key has the id of a key
// without a certificate.
func ParsePublicDER(der []byte) (*PublicKey, error) {
	k, err := trust.ParseDER(der)
	if err != nil {
		if oid := algorithm(der); len(oid) > 0 && !oid.Equal(rsaEncryption) {
			return nil, fmt.Errorf("%w but %s", ErrNotRSA, AlgorithmName(oid))
		}
		return nil, err
	}
	setID(k)
	return k, nil
}

// algorithm returns the algorithm of a SubjectPublicKeyInfo (RFC 5280, section 4.1), or nil if it
// cannot be read.
func algorithm(der []byte) asn1.ObjectIdentifier {
	var info struct {
		Algorithm struct {
			Algorithm  asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil
	}
	return info.Algorithm.Algorithm
}

// MarshalPEM returns the key as a PEM SubjectPublicKeyInfo. It does not contain id, name and
// validity; a TrustStore does.
func MarshalPEM(k *PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: trust.PEMType, Bytes: k.MarshalDER()})
}
