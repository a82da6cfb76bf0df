package keys

import (
	"bytes"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// pemPublicKey is the PEM label of a SubjectPublicKeyInfo (RFC 7468, section 13).
const pemPublicKey = "PUBLIC KEY"

// subjectPublicKeyInfo is SubjectPublicKeyInfo of RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	Algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	PublicKey asn1.BitString
}

// oidRSA is rsaEncryption of RFC 8017, appendix A.1.
var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// algorithms names what people are likely to have instead of RSA.
var algorithms = map[string]string{
	"1.2.840.10045.2.1":     "an elliptic curve key",
	"1.3.101.112":           "an Ed25519 key",
	"1.3.101.113":           "an Ed448 key",
	"1.2.840.10040.4.1":     "a DSA key",
	"1.2.840.113549.1.1.10": "an RSA key for PSS only",
}

// ParsePublicDER reads an RSA key from a DER SubjectPublicKeyInfo. The key has
// the id of a bare key.
func ParsePublicDER(der []byte) (*PublicKey, error) {
	var info subjectPublicKeyInfo
	if err := unmarshalAll(der, &info); err != nil {
		return nil, fmt.Errorf("not a public key: %w", err)
	}
	if alg := info.Algorithm.Algorithm; !alg.Equal(oidRSA) {
		if name, ok := algorithms[alg.String()]; ok {
			return nil, fmt.Errorf("not an RSA key but %s", name)
		}
		return nil, fmt.Errorf("not an RSA key but one of algorithm %v", alg)
	}
	if !bytes.Equal(info.Algorithm.Parameters.FullBytes, asn1.NullBytes) {
		return nil, errors.New("RSA key with algorithm parameters")
	}
	if info.PublicKey.BitLength%8 != 0 {
		return nil, errors.New("RSA key is not a whole number of bytes")
	}
	var key pkcs1PublicKey
	if err := unmarshalAll(info.PublicKey.Bytes, &key); err != nil {
		return nil, fmt.Errorf("not an RSA public key: %w", err)
	}
	k, err := NewPublicKey(&rsa.PublicKey{N: key.N, E: key.E})
	if err != nil {
		return nil, err
	}
	// encoding/asn1 lets a sequence have more members than it reads.
	if !bytes.Equal(der, k.MarshalDER()) {
		return nil, errors.New("RSA public key is not in canonical form")
	}
	return k, nil
}

// ParsePublicPEM reads an RSA key from one PEM block "PUBLIC KEY" without
// headers, and nothing else but white space. The key has the id of a bare key.
func ParsePublicPEM(data []byte) (*PublicKey, error) {
	block, rest, err := nextBlock(data)
	if err != nil {
		return nil, err
	}
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if len(rest) > 0 {
		return nil, errors.New("something follows the PEM block")
	}
	if len(block.Headers) > 0 {
		return nil, errors.New("PEM block of a bare public key has headers")
	}
	return ParsePublicDER(block.Bytes)
}

// MarshalDER gives the key as DER SubjectPublicKeyInfo.
func (k *PublicKey) MarshalDER() []byte {
	var info subjectPublicKeyInfo
	info.Algorithm.Algorithm = oidRSA
	info.Algorithm.Parameters = asn1.NullRawValue
	pkcs1 := marshalPKCS1(k.RSA)
	info.PublicKey = asn1.BitString{Bytes: pkcs1, BitLength: 8 * len(pkcs1)}
	der, err := asn1.Marshal(info)
	if err != nil {
		panic("encoding a public key: " + err.Error())
	}
	return der
}

// MarshalPEM gives the key as PEM SubjectPublicKeyInfo. Id, name and validity
// are lost; a TrustStore keeps them.
func (k *PublicKey) MarshalPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: k.MarshalDER()})
}

// unmarshalAll refuses what stands behind the value.
func unmarshalAll(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow it", len(rest))
	}
	return nil
}
