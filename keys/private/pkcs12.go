package private

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// parsePKCS12 parses the private key and the certificates of a PKCS #12 store. It first tries an
// empty passphrase: many stores have one.
func parsePKCS12(der []byte, ask func() ([]byte, error)) (*Key, error) {
	if err := checkPKCS12(der); err != nil {
		return nil, err
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, "")
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		var pass []byte
		if pass, err = ask(); err != nil {
			return nil, err
		}
		defer clear(pass)
		key, leaf, chain, err = pkcs12.DecodeChain(der, string(pass))
	}
	switch _, unknown := errors.AsType[pkcs12.NotImplementedError](err); {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, ErrPassphrase
	case unknown:
		return nil, fmt.Errorf("%w: %w", ErrPKCS12, err) // names algorithms, and nothing else
	case err != nil:
		return nil, ErrPKCS12
	}
	priv, err := rsaKey(key)
	if err != nil {
		return nil, err
	}
	certificates := [][]byte{leaf.Raw}
	for _, c := range chain {
		certificates = append(certificates, c.Raw)
	}
	return newKey(priv, certificates)
}

// The structures of RFC 7292, section 4, and of PKCS #7 (RFC 5652), as far as they are not
// encrypted.
type (
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MAC      macData `asn1:"optional"`
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	macData struct {
		MAC struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	}
	encryptedData struct {
		Version int
		Info    struct {
			Type      asn1.ObjectIdentifier
			Algorithm pkix.AlgorithmIdentifier
			Content   []byte `asn1:"tag:0,optional"`
		}
	}
	safeBag struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue `asn1:"tag:0,explicit"`
	}
)

var (
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidShroudedKey = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidPBMAC1      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}
)

// checkPKCS12 refuses a store that needs more work than a key is worth, because the library has no
// limit. It does not see encrypted parts: only somebody who knows the passphrase can make those
// costly.
func checkPKCS12(der []byte) error {
	var store pfx
	var safes []contentInfo
	if rest, err := asn1.Unmarshal(der, &store); err != nil || len(rest) > 0 {
		return ErrPKCS12
	}
	if err := unmarshalData(store.AuthSafe, &safes); err != nil {
		return err
	}
	work := []int{store.MAC.Iterations}
	if alg := store.MAC.MAC.Algorithm; alg.Algorithm.Equal(oidPBMAC1) {
		work = append(work, iterations(alg))
	}
	for _, safe := range safes {
		if safe.Type.Equal(oidData) {
			var bags []safeBag
			if err := unmarshalData(safe, &bags); err != nil {
				return err
			}
			for _, bag := range bags {
				var key encryptedPrivateKeyInfo
				if _, err := asn1.Unmarshal(bag.Value.Bytes, &key); err == nil && bag.ID.Equal(oidShroudedKey) {
					work = append(work, iterations(key.Algorithm))
				}
			}
			continue
		}
		var data encryptedData
		if _, err := asn1.Unmarshal(safe.Content.Bytes, &data); err == nil {
			work = append(work, iterations(data.Info.Algorithm))
		}
	}
	for _, n := range work {
		if n < 0 || n > maxIterations {
			return fmt.Errorf("%w: key derivation with %d iterations", ErrPKCS12, n)
		}
	}
	return nil
}

// unmarshalData parses the contents of an octet string of type data.
func unmarshalData(info contentInfo, v any) error {
	var data []byte
	if _, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil {
		return ErrPKCS12
	}
	if _, err := asn1.Unmarshal(data, v); err != nil {
		return ErrPKCS12
	}
	return nil
}

// iterations returns the number of iterations of an algorithm. It returns 0 if it cannot parse the
// parameters; the library cannot parse those either.
func iterations(alg pkix.AlgorithmIdentifier) int {
	var kdf struct { // PBES2 and PBMAC1 (RFC 8018, appendix A.4 and A.5)
		KDF, Other pkix.AlgorithmIdentifier
	}
	var pbkdf2 pbkdf2Params
	var old struct { // pkcs-12PbeParams of RFC 7292, appendix C
		Salt       []byte
		Iterations int
	}
	params := alg.Parameters.FullBytes
	if _, err := asn1.Unmarshal(params, &kdf); err == nil {
		if _, err := asn1.Unmarshal(kdf.KDF.Parameters.FullBytes, &pbkdf2); err == nil {
			return pbkdf2.Iterations
		}
	}
	if _, err := asn1.Unmarshal(params, &old); err == nil {
		return old.Iterations
	}
	return 0
}
