package private

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/keyfile"
)

// These errors replace those of the libraries, which might quote secret data.
var (
	errDamaged            = errors.New("private key is damaged or has an unknown form")
	errPassphraseOrDamage = fmt.Errorf("%w (or a damaged key)", ErrPassphrase)
)

// privateKeyInfo is PrivateKeyInfo of RFC 5958, section 2.
type privateKeyInfo struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

var (
	oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidPSS = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidEC  = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

// curves has the names of the curves of RFC 5480, and of some more that OpenSSL knows.
var curves = map[string]string{
	"1.3.132.0.33":          "P-224",
	"1.2.840.10045.3.1.7":   "P-256",
	"1.3.132.0.34":          "P-384",
	"1.3.132.0.35":          "P-521",
	"1.3.132.0.10":          "secp256k1",
	"1.3.36.3.3.2.8.1.1.7":  "brainpoolP256r1",
	"1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
	"1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
}

// parseDER parses a private key by its structure, whatever its label is: some tools write PKCS #1
// with the label of PKCS #8.
func parseDER(der []byte) (*rsa.PrivateKey, error) {
	switch keyfile.LabelOfDER(der) {
	case keyfile.PKCS8:
		return parsePKCS8(der)
	case keyfile.PKCS1:
		return parsePKCS1(der)
	}
	return nil, errDamaged
}

// parsePKCS8 parses a PKCS #8 key. It names keys that are not RSA keys itself, because crypto/x509
// knows fewer kinds.
func parsePKCS8(der []byte) (*rsa.PrivateKey, error) {
	var info privateKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errDamaged
	}
	defer clear(info.Key)
	switch alg := info.Algorithm; {
	case alg.Algorithm.Equal(oidRSA):
		return parsePKCS1(info.Key)
	case alg.Algorithm.Equal(oidPSS):
		return nil, &keyfile.FormError{Label: keyfile.PSS, Want: "one for PKCS #1 v1.5"}
	case alg.Algorithm.Equal(oidEC):
		var curve asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(alg.Parameters.FullBytes, &curve); err == nil && curves[curve.String()] != "" {
			return nil, fmt.Errorf("%w but an elliptic curve key (%s)", ErrNotRSA, curves[curve.String()])
		}
	}
	return nil, fmt.Errorf("%w but %s", ErrNotRSA, keys.AlgorithmName(info.Algorithm.Algorithm))
}

// parsePKCS1 parses a PKCS #1 key. It checks the public half first, so that the error for an
// unusable key gives the reason.
func parsePKCS1(der []byte) (*rsa.PrivateKey, error) {
	var public struct { // the beginning of RSAPrivateKey, RFC 8017, appendix A.1.2
		Version int
		N, E    *big.Int
	}
	if rest, err := asn1.Unmarshal(der, &public); err != nil || len(rest) > 0 {
		return nil, errDamaged
	}
	if !public.E.IsInt64() || public.E.Int64() > 1<<31-1 {
		return nil, fmt.Errorf("%w: RSA exponent of %d bits, at most 31 are allowed", ErrWeak, public.E.BitLen())
	}
	if err := check(&rsa.PublicKey{N: public.N, E: int(public.E.Int64())}); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, errDamaged
	}
	return key, nil
}

// check returns an error if no signature verifies with the key.
func check(pub *rsa.PublicKey) error {
	if _, err := keys.NewPublicKey(pub); err != nil {
		return fmt.Errorf("%w: %w", ErrWeak, err)
	}
	return nil
}

// rsaKey returns key if it is an RSA key. Otherwise its error names the kind of key.
func rsaKey(key any) (*rsa.PrivateKey, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, check(&key.PublicKey)
	case *ecdsa.PrivateKey:
		return nil, fmt.Errorf("%w but an elliptic curve key (%s)", ErrNotRSA, key.Curve.Params().Name)
	case ed25519.PrivateKey:
		return nil, fmt.Errorf("%w but an Ed25519 key", ErrNotRSA)
	case *ecdh.PrivateKey:
		return nil, fmt.Errorf("%w but an X25519 key", ErrNotRSA)
	}
	return nil, fmt.Errorf("%w but %T", ErrNotRSA, key)
}
