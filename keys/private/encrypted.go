package private

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"golang.org/x/crypto/pbkdf2"
	"golang.org/x/crypto/scrypt"

	"github.com/vmseal/vmseal/keys/keyfile"
)

// Limits for the parameters of a key file. By default openssl writes 2048 iterations, or scrypt
// with N 16384, r 8, p 1. It refuses scrypt above 32 MiB.
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
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
)

// cbc is a cipher in CBC mode. Its parameter is an initialization vector of one block (RFC 8018,
// appendix B.2).
type cbc struct {
	key, block int // sizes
	new        func(key []byte) (cipher.Block, error)
}

var ciphers = map[string]cbc{
	"2.16.840.1.101.3.4.1.2":  {16, aes.BlockSize, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.BlockSize, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.BlockSize, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.BlockSize, des.NewTripleDESCipher},
}

// prfs are the hashes of HMAC (RFC 8018, appendix B.1). The default is HMAC-SHA-1.
var prfs = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
	"1.2.840.113549.2.12": sha512.New512_224,
	"1.2.840.113549.2.13": sha512.New512_256,
}

var errEncryptedDamaged = errors.New("damaged encrypted private key")

// parseEncrypted parses an EncryptedPrivateKeyInfo. It calls ask for the passphrase only if it
// supports the encryption.
func parseEncrypted(der []byte, ask func() ([]byte, error)) (*rsa.PrivateKey, error) {
	box, err := parsePBES2(der)
	if err != nil {
		return nil, err
	}
	pass, err := ask()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	return decrypted(box.open(pass))
}

// decrypted parses a decrypted key. Decryption has no check except the padding, so after a wrong
// passphrase the result is not a key.
func decrypted(der []byte, err error) (*rsa.PrivateKey, error) {
	if err != nil {
		return nil, err
	}
	defer clear(der)
	key, err := parseDER(der)
	if errors.Is(err, errDamaged) {
		return nil, errPassphraseOrDamage
	}
	return key, err
}

// pbes2 is data that is encrypted with PBES2, and its parameters.
type pbes2 struct {
	kdf    func(pass []byte, size int) ([]byte, error)
	cipher cbc
	iv     []byte
	data   []byte
}

// parsePBES2 refuses unsupported parameters, and those that need more work or memory than a key is
// worth.
func parsePBES2(der []byte) (*pbes2, error) {
	var info encryptedPrivateKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errEncryptedDamaged
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("%w: algorithm %v, but only PBES2 is", ErrEncryption, info.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshalParams(info.Algorithm, &params); err != nil {
		return nil, err
	}
	box := &pbes2{data: info.Data}
	var ok bool
	if box.cipher, ok = ciphers[params.Cipher.Algorithm.String()]; !ok {
		return nil, fmt.Errorf("%w: cipher %v", ErrEncryption, params.Cipher.Algorithm)
	}
	if err := unmarshalParams(params.Cipher, &box.iv); err != nil {
		return nil, err
	}
	if block := box.cipher.block; len(box.iv) != block || len(box.data) == 0 || len(box.data)%block != 0 {
		return nil, errEncryptedDamaged
	}
	var err error
	switch kdf := params.KDF; {
	case kdf.Algorithm.Equal(oidPBKDF2):
		box.kdf, err = parsePBKDF2(kdf, box.cipher.key)
	case kdf.Algorithm.Equal(oidScrypt):
		box.kdf, err = parseScrypt(kdf, box.cipher.key)
	default:
		err = fmt.Errorf("%w: key derivation %v", ErrEncryption, kdf.Algorithm)
	}
	return box, err
}

func parsePBKDF2(kdf pkix.AlgorithmIdentifier, size int) (func([]byte, int) ([]byte, error), error) {
	var p pbkdf2Params
	if err := unmarshalParams(kdf, &p); err != nil {
		return nil, err
	}
	if p.Iterations < 1 || p.Iterations > maxIterations || len(p.Salt) > maxSalt {
		return nil, fmt.Errorf("%w: PBKDF2 with %d iterations and %d bytes of salt", ErrEncryption, p.Iterations, len(p.Salt))
	}
	if p.KeyLength != 0 && p.KeyLength != size {
		return nil, fmt.Errorf("%w: PBKDF2 with a key of %d bytes for a cipher with %d", ErrEncryption, p.KeyLength, size)
	}
	prf := prfs[p.PRF.Algorithm.String()]
	if prf == nil {
		return nil, fmt.Errorf("%w: PBKDF2 with function %v", ErrEncryption, p.PRF.Algorithm)
	}
	return func(pass []byte, size int) ([]byte, error) {
		return pbkdf2.Key(pass, p.Salt, p.Iterations, size, prf), nil
	}, nil
}

func parseScrypt(kdf pkix.AlgorithmIdentifier, size int) (func([]byte, int) ([]byte, error), error) {
	var p scryptParams
	if err := unmarshalParams(kdf, &p); err != nil {
		return nil, err
	}
	if p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 || p.P > maxScryptP || len(p.Salt) > maxSalt || p.N > maxScryptMemory/128/p.R {
		return nil, fmt.Errorf("%w: scrypt with N %d, r %d, p %d", ErrEncryption, p.N, p.R, p.P)
	}
	if p.KeyLength != 0 && p.KeyLength != size {
		return nil, fmt.Errorf("%w: scrypt with a key of %d bytes for a cipher with %d", ErrEncryption, p.KeyLength, size)
	}
	return func(pass []byte, size int) ([]byte, error) {
		return scrypt.Key(pass, p.Salt, p.N, p.R, p.P, size)
	}, nil
}

func unmarshalParams(alg pkix.AlgorithmIdentifier, v any) error {
	if rest, err := asn1.Unmarshal(alg.Parameters.FullBytes, v); err != nil || len(rest) > 0 {
		return fmt.Errorf("damaged parameters of algorithm %v", alg.Algorithm)
	}
	return nil
}

// open decrypts the data and removes the padding (RFC 8018, section 6.1.1).
func (box *pbes2) open(pass []byte) ([]byte, error) {
	key, err := box.kdf(pass, box.cipher.key)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := box.cipher.new(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(box.data))
	cipher.NewCBCDecrypter(block, box.iv).CryptBlocks(plain, box.data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > box.cipher.block || slices.ContainsFunc(plain[len(plain)-pad:], func(b byte) bool { return int(b) != pad }) {
		clear(plain)
		return nil, errPassphraseOrDamage
	}
	return plain[:len(plain)-pad], nil
}

// parseOldEncrypted parses a key with the encryption of PEM (RFC 1421), which openssl used before
// 3.0. It derives the key from the passphrase with one round of MD5. That is weak, but better than
// an unencrypted key.
func parseOldEncrypted(b keyfile.Block, ask func() ([]byte, error)) (*rsa.PrivateKey, error) {
	mode, _, _ := strings.Cut(b.Headers["DEK-Info"], ",")
	switch mode {
	case "DES-CBC", "DES-EDE3-CBC", "AES-128-CBC", "AES-192-CBC", "AES-256-CBC":
	default:
		return nil, fmt.Errorf("%w: cipher %q of PEM", ErrEncryption, mode)
	}
	pass, err := ask()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	block := &pem.Block{Type: b.Label, Headers: b.Headers, Bytes: b.Bytes}
	//lint:ignore SA1019 people have such keys, and reading them does no harm
	der, err := x509.DecryptPEMBlock(block, pass)
	if errors.Is(err, x509.IncorrectPasswordError) {
		err = errPassphraseOrDamage
	} else if err != nil {
		err = errEncryptedDamaged
	}
	return decrypted(der, err)
}
