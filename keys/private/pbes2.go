package private

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Bounds on what a key file may ask for. By default openssl writes 2048
// iterations, and scrypt with N 16384, r 8, p 1; it takes no scrypt above 32 MiB.
const (
	maxIterations   = 5_000_000
	maxSalt         = 1 << 10
	maxScryptMemory = 64 << 20 // 128 * N * r bytes
	maxScryptP      = 16
)

// encryptedPrivateKeyInfo is EncryptedPrivateKeyInfo of RFC 5958, section 3.
type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2Params is PBES2-params of RFC 8018, appendix A.4.
type pbes2Params struct {
	KDF    pkix.AlgorithmIdentifier
	Cipher pkix.AlgorithmIdentifier
}

// pbkdf2Params is PBKDF2-params of RFC 8018, appendix A.2.
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// scryptParams is scrypt-params of RFC 7914, section 7.
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
)

// cbcBlocks gives the block size of each cipher that is accepted; its
// initialization vector is one block.
var cbcBlocks = map[string]int{
	"2.16.840.1.101.3.4.1.2":  16, // aes-128-cbc
	"2.16.840.1.101.3.4.1.22": 16, // aes-192-cbc
	"2.16.840.1.101.3.4.1.42": 16, // aes-256-cbc
	"1.2.840.113549.3.7":      8,  // des-ede3-cbc
}

// checkPBES2 refuses an EncryptedPrivateKeyInfo that asks for what is not
// supported, or for more work or memory than a key is worth.
func checkPBES2(der []byte) error {
	var info encryptedPrivateKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return errors.New("damaged encrypted private key")
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return fmt.Errorf("%w: algorithm %v, but only PBES2 is", ErrEncryption, info.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshalParams(info.Algorithm, &params); err != nil {
		return err
	}
	if err := checkCipher(params.Cipher, len(info.Data)); err != nil {
		return err
	}
	switch kdf := params.KDF; {
	case kdf.Algorithm.Equal(oidPBKDF2):
		return checkPBKDF2(kdf)
	case kdf.Algorithm.Equal(oidScrypt):
		return checkScrypt(kdf)
	default:
		return fmt.Errorf("%w: key derivation %v", ErrEncryption, kdf.Algorithm)
	}
}

func checkCipher(cipher pkix.AlgorithmIdentifier, length int) error {
	block, ok := cbcBlocks[cipher.Algorithm.String()]
	if !ok {
		return fmt.Errorf("%w: cipher %v", ErrEncryption, cipher.Algorithm)
	}
	var iv []byte
	if err := unmarshalParams(cipher, &iv); err != nil {
		return err
	}
	if len(iv) != block || length == 0 || length%block != 0 {
		return errors.New("damaged encrypted private key")
	}
	return nil
}

func checkPBKDF2(kdf pkix.AlgorithmIdentifier) error {
	var p pbkdf2Params
	if err := unmarshalParams(kdf, &p); err != nil {
		return err
	}
	if p.Iterations < 1 || p.Iterations > maxIterations || len(p.Salt) > maxSalt {
		return fmt.Errorf("%w: PBKDF2 with %d iterations and %d bytes of salt", ErrEncryption, p.Iterations, len(p.Salt))
	}
	// The library reads no key length, and would take what follows it for absent.
	if p.KeyLength != 0 {
		return fmt.Errorf("%w: PBKDF2 with a key length", ErrEncryption)
	}
	prf := p.PRF.Algorithm
	if len(prf) != 0 && !prf.Equal(oidHMACSHA1) && !prf.Equal(oidHMACSHA256) {
		return fmt.Errorf("%w: PBKDF2 with function %v, but only HMAC-SHA1 and HMAC-SHA256 are", ErrEncryption, prf)
	}
	return nil
}

func checkScrypt(kdf pkix.AlgorithmIdentifier) error {
	var p scryptParams
	if err := unmarshalParams(kdf, &p); err != nil {
		return err
	}
	if p.N < 2 || p.R < 1 || p.P < 1 || p.P > maxScryptP || len(p.Salt) > maxSalt || p.N > maxScryptMemory/128/p.R {
		return fmt.Errorf("%w: scrypt with N %d, r %d, p %d", ErrEncryption, p.N, p.R, p.P)
	}
	return nil
}

func unmarshalParams(alg pkix.AlgorithmIdentifier, v any) error {
	if rest, err := asn1.Unmarshal(alg.Parameters.FullBytes, v); err != nil || len(rest) > 0 {
		return fmt.Errorf("damaged parameters of algorithm %v", alg.Algorithm)
	}
	return nil
}
