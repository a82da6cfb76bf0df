package private

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/youmark/pkcs8"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/keyfile"
)

// The files that Generate writes.
const (
	PrivateFile     = "private.pem"
	CertificateFile = "cert.pem"
	PublicFile      = "public.pem"
	TrustFile       = "trust.pem"
)

// DefaultName is the default common name of a certificate.
const DefaultName = "vmseal signing key"

// GenerateOptions describes a new key.
type GenerateOptions struct {
	Bits       int    // 2048, 3072 or 4096; 0 means 2048
	Name       string // common name in the certificate; empty means DefaultName
	Passphrase []byte // encrypts the private key; empty for an unencrypted key
}

// encryption has the parameters of openssl, but more than its 2048 iterations.
var encryption = &pkcs8.Opts{
	Cipher:  pkcs8.AES256CBC,
	KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: crypto.SHA256},
}

// Generate makes an RSA key and writes four files into dir: the private key as PKCS #8, readable
// only by its owner, a self-signed certificate, the public key, and a trust store of that key. It
// creates dir if necessary.
// None of the files may exist. After an error it removes what it created.
func Generate(dir string, opt GenerateOptions) (*keys.PublicKey, error) {
	if opt.Bits == 0 {
		opt.Bits = 2048
	}
	if opt.Bits != 2048 && opt.Bits != 3072 && opt.Bits != 4096 {
		return nil, fmt.Errorf("making a key: %d bits, but only 2048, 3072 and 4096 are supported", opt.Bits)
	}
	if opt.Name == "" {
		opt.Name = DefaultName
	}
	if len(opt.Name) > 64 {
		return nil, errors.New("making a key: name is longer than the 64 bytes that X.509 allows") // ub-common-name
	}
	// The files are created first, because making the key may take seconds.
	out, err := newFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	pub, err := generate(out, opt)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", errors.Join(err, out.abort()))
	}
	return pub, nil
}

func generate(out *files, opt GenerateOptions) (*keys.PublicKey, error) {
	priv, err := rsa.GenerateKey(rand.Reader, opt.Bits)
	if err != nil {
		return nil, err
	}
	pub, err := keys.NewPublicKey(&priv.PublicKey)
	if err != nil {
		return nil, err
	}
	privPEM, err := marshalPrivate(priv, opt.Passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(privPEM)
	cert, err := certificate(priv, pub, opt.Name)
	if err != nil {
		return nil, err
	}
	trusted := *pub
	if keys.CheckName(opt.Name) == nil {
		trusted.Name = opt.Name
	}
	store, err := keys.NewTrustStore(&trusted)
	if err != nil {
		return nil, err
	}
	return pub, out.write(privPEM, cert, keys.MarshalPEM(pub), store.Append(nil))
}

func marshalPrivate(priv *rsa.PrivateKey, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return cryptoutils.MarshalPrivateKeyToPEM(priv)
	}
	der, err := pkcs8.MarshalPrivateKey(priv, passphrase, encryption)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyfile.EncryptedPKCS8, Bytes: der}), nil
}

// certificate returns a self-signed certificate. Its subject key identifier is SHA-1 over the PKCS
// #1 key, so that the certificate and the bare key have the same IMA key id; crypto/x509 would use
// another hash by default. Its end date is the one that RFC 5280, section 4.1.2.5, defines for "no
// well-defined expiration date", because its readers do not check dates.
func certificate(priv *rsa.PrivateKey, pub *keys.PublicKey, name string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	skid := keys.SubjectKeyID(pub)
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().UTC().Truncate(time.Second),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		SignatureAlgorithm:    x509.SHA256WithRSA,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, // not a CA
		SubjectKeyId:          skid[:],
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
