package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certificate makes a certificate with the given SKID, and none if it is nil.
func certificate(t *testing.T, key any, pub any, skid []byte) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    notBefore, NotAfter: notAfter,
		SubjectKeyId: skid,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemBlock(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func TestLoad(t *testing.T) {
	key := testkit.Key(t, 2048)
	bare, err := keys.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	own := keys.SubjectKeyID(bare)
	fromSKID := ima.KeyID{5, 6, 7, 8}
	long := certificate(t, key, &key.PublicKey, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	short := certificate(t, key, &key.PublicKey, fromSKID[:])
	for name, tt := range map[string]struct {
		data []byte
		want ima.KeyID
	}{
		"certificate":            {pemBlock("CERTIFICATE", long), fromSKID},
		"certificate DER":        {long, fromSKID},
		"certificate with text":  {append([]byte("Certificate:\n  Data: 1\n"), pemBlock("CERTIFICATE", long)...), fromSKID},
		"certificate, four only": {short, fromSKID},
		"certificate, own hash":  {certificate(t, key, &key.PublicKey, own[:]), bare.ID},
		"public key":             {keys.MarshalPEM(bare), bare.ID},
		"public key DER":         {bare.MarshalDER(), bare.ID},
	} {
		path := filepath.Join(t.TempDir(), "file")
		testkit.Write(t, path, tt.data)
		k, err := Load(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if k.ID != tt.want || !k.RSA.Equal(&key.PublicKey) || !k.NotBefore.IsZero() || !k.NotAfter.IsZero() {
			t.Errorf("%s: %+v, want id %v and no validity", name, k, tt.want)
		}
		s, err := LoadTrust(t.Context(), path)
		if err != nil {
			t.Errorf("%s as trust: %v", name, err)
		} else if _, ok := s.Lookup(tt.want); !ok {
			t.Errorf("%s as trust: no key %v", name, tt.want)
		}
	}
}

func TestWithDates(t *testing.T) {
	key := testkit.Key(t, 2048)
	k, err := Parse(certificate(t, key, &key.PublicKey, []byte{1, 2, 3, 4}), WithDates())
	if err != nil {
		t.Fatal(err)
	}
	if !k.NotBefore.Equal(notBefore) || !k.NotAfter.Equal(notAfter) {
		t.Errorf("validity %v to %v", k.NotBefore, k.NotAfter)
	}
	if err := k.ValidAt(time.Now()); !errors.Is(err, keys.ErrNotValid) {
		t.Errorf("the certificate ended in 2021: %v", err)
	}
	if _, err := keys.NewTrustStore(k); err != nil {
		t.Error(err)
	}
}

func TestLoadTrustStore(t *testing.T) {
	var all []*keys.PublicKey
	for _, bits := range []int{2048, 3072} {
		k, err := keys.NewPublicKey(&testkit.Key(t, bits).PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	s, err := keys.NewTrustStore(all...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trust.pem")
	testkit.Write(t, path, s.Append(nil))
	got, err := LoadTrust(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Append(nil), s.Append(nil)) {
		t.Error("the store differs")
	}
	if _, err := Load(t.Context(), path); err == nil {
		t.Error("Load takes a trust store of two keys for one key")
	}
}

func TestRefuses(t *testing.T) {
	key := testkit.Key(t, 2048)
	weak := testkit.Key(t, 1024)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecSPKI, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	skid := []byte{1, 2, 3, 4}
	good := pemBlock("CERTIFICATE", certificate(t, key, &key.PublicKey, skid))
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":        {nil, "neither PEM nor"},
		"text":           {[]byte("hello"), "neither PEM nor"},
		"no SKID":        {certificate(t, key, &key.PublicKey, nil), "no subject key identifier"},
		"SKID of three":  {certificate(t, key, &key.PublicKey, skid[:3]), "too short"},
		"weak":           {certificate(t, key, &weak.PublicKey, skid), "1024 bits"},
		"ec certificate": {certificate(t, ec, ec.Public(), skid), "ECDSA"},
		"ec key":         {ecSPKI, "an elliptic curve key"},
		"chain":          {append(bytes.Clone(good), good...), "several"},
		"cut chain":      {append(bytes.Clone(good), good[:100]...), "several"},
		"damaged":        {pemBlock("CERTIFICATE", []byte{0x30, 0}), "certificate: "},
		"private key":    {pemBlock("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), "private key"},
		"request":        {pemBlock("CERTIFICATE REQUEST", nil), "neither a certificate"},
	} {
		if tt.data == nil && name != "nothing" {
			t.Fatal(name)
		}
		if k, err := Parse(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, error %v does not say %q", name, k, err, tt.want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, load := range []func() error{
		func() error { _, err := Load(t.Context(), large); return err },
		func() error { _, err := LoadTrust(t.Context(), large); return err },
	} {
		if err := load(); err == nil || !strings.Contains(err.Error(), "more than") || !strings.Contains(err.Error(), large) {
			t.Errorf("a file of a terabyte: %v", err)
		}
	}
}

// TestAgainstEvmctl has openssl make certificates, with its own SKID and with an
// arbitrary one, and compares with the ids that evmctl writes.
func TestAgainstEvmctl(t *testing.T) {
	testkit.Tool(t, "evmctl", "openssl")
	for _, skid := range []string{"hash", "00:01:02:03:FE:DC:BA:98"} {
		dir := t.TempDir()
		var key *rsa.PrivateKey = testkit.Key(t, 2048)
		testkit.WritePrivate(t, filepath.Join(dir, "key.pem"), key)
		testkit.Write(t, filepath.Join(dir, "file"), []byte("x"))
		testkit.Run(t, dir, "openssl", "req", "-new", "-x509", "-key", "key.pem", "-subj", "/CN=t",
			"-addext", "subjectKeyIdentifier="+skid, "-out", "cert.pem")
		testkit.Run(t, dir, "openssl", "x509", "-in", "cert.pem", "-outform", "DER", "-out", "cert.der")
		for _, cert := range []string{"cert.pem", "cert.der"} {
			out := testkit.Run(t, dir, "evmctl", "ima_sign", "-n", "--key", "key.pem", "--keyid-from-cert", cert, "file")
			v, err := ima.Parse(testkit.Hex(t, out))
			if err != nil {
				t.Fatal(err)
			}
			k, err := Load(t.Context(), filepath.Join(dir, cert))
			if err != nil {
				t.Fatal(err)
			}
			if k.ID != v.KeyID {
				t.Errorf("SKID %s, %s: id %v, evmctl has %v", skid, cert, k.ID, v.KeyID)
			}
		}
	}
}
