package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
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

// certificate returns a certificate with the given SKID, or without one if it is nil.
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
		"PKCS #1 public key":     {pemBlock("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey)), bare.ID},
		"PKCS #1 public key DER": {x509.MarshalPKCS1PublicKey(&key.PublicKey), bare.ID},
		"CRLF":                   {bytes.ReplaceAll(pemBlock("CERTIFICATE", long), []byte("\n"), []byte("\r\n")), fromSKID},
		"BOM":                    {append([]byte("\ufeff"), pemBlock("CERTIFICATE", long)...), fromSKID},
		"the old label":          {pemBlock("X509 CERTIFICATE", long), fromSKID},
		"public key in front":    {append(keys.MarshalPEM(bare), pemBlock("CERTIFICATE", long)...), fromSKID},
		"public key behind":      {append(pemBlock("CERTIFICATE", long), keys.MarshalPEM(bare)...), fromSKID},
		"request beside it":      {append(pemBlock("CERTIFICATE REQUEST", []byte{0x30, 0}), pemBlock("CERTIFICATE", long)...), fromSKID},
		"parameters beside it":   {append(pemBlock("CERTIFICATE", long), pemBlock("DH PARAMETERS", []byte{0x30, 0})...), fromSKID},
		"twice":                  {append(pemBlock("CERTIFICATE", long), pemBlock("CERTIFICATE", long)...), fromSKID},
		"two DER":                {append(bytes.Clone(long), long...), fromSKID},
	} {
		path := filepath.Join(t.TempDir(), "file")
		testkit.Write(t, path, tt.data)
		k, err := LoadOf(t.Context(), path, &key.PublicKey)
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
	all, err := Parse(certificate(t, key, &key.PublicKey, []byte{1, 2, 3, 4}), WithDates())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	k := all[0]
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
	// The enforcer accepts only the exact form of Append. Here a store is also read in the form
	// that editors, downloads and cat leave.
	path := filepath.Join(t.TempDir(), "trust.pem")
	text := s.Append(nil)
	for name, text := range map[string][]byte{
		"as written": text,
		"CRLF":       bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"BOM":        append([]byte("\ufeff"), text...),
		"comments":   append([]byte("# our keys\n"), text...),
	} {
		testkit.Write(t, path, text)
		got, err := LoadTrust(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got.Append(nil), s.Append(nil)) {
			t.Errorf("%s: the store differs", name)
		}
		for _, k := range all {
			if found, err := LoadOf(t.Context(), path, k.RSA); err != nil || found.ID != k.ID {
				t.Errorf("%s: key %v: %v, %v", name, k.ID, found, err)
			}
		}
		if _, err := LoadOf(t.Context(), path, &testkit.Key(t, 4096).PublicKey); !errors.Is(err, ErrOtherKey) {
			t.Errorf("%s: another key: %v", name, err)
		}
	}
	doubled := bytes.Replace(text, []byte("\nIMA-Key-Id"), []byte("\nIMA-Key-Id: 00000000\nIMA-Key-Id"), 1)
	for name, text := range map[string][]byte{
		"cut":              text[:len(text)-9],
		"a header doubled": doubled,
		"a key twice":      append(bytes.Clone(text), text...),
	} {
		if _, err := ParseTrust(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRefuses also checks that no error quotes a private key.
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
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	skid := []byte{1, 2, 3, 4}
	good := pemBlock("CERTIFICATE", certificate(t, key, &key.PublicKey, skid))
	join := func(blocks ...[]byte) []byte { return bytes.Join(blocks, nil) }
	const private = ", but a certificate or a public key is wanted"
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":            {nil, "empty"},
		"text":               {[]byte("hello"), "neither PEM nor"},
		"no SKID":            {certificate(t, key, &key.PublicKey, nil), "no subject key identifier"},
		"SKID of three":      {certificate(t, key, &key.PublicKey, skid[:3]), "it has 3 bytes, and 4 are needed"},
		"weak":               {certificate(t, key, &weak.PublicKey, skid), "1024 bits"},
		"weak PKCS #1":       {x509.MarshalPKCS1PublicKey(&weak.PublicKey), "1024 bits"},
		"ec certificate":     {certificate(t, ec, ec.Public(), skid), "not an RSA key but an elliptic curve key"},
		"ec key":             {ecSPKI, "an elliptic curve key"},
		"ec in a bundle":     {join(good, pemBlock("PUBLIC KEY", ecSPKI)), "key 2: not an RSA key but an elliptic curve key"},
		"cut chain":          {join(good, good[:100]), "PEM block 2 (\"CERTIFICATE\") is damaged"},
		"damaged":            {pemBlock("CERTIFICATE", []byte{0x30, 0}), "certificate: "},
		"damaged PKCS #1":    {pemBlock("RSA PUBLIC KEY", []byte{0x30, 0}), "not an RSA public key"},
		"trusted":            {pemBlock("TRUSTED CERTIFICATE", append(certificate(t, key, &key.PublicKey, skid), 0x30, 0)), "in OpenSSL's own format"},
		"private key":        {pemBlock("PRIVATE KEY", pkcs8), "holds a private key" + private},
		"private key, CRLF":  {bytes.ReplaceAll(pemBlock("PRIVATE KEY", pkcs8), []byte("\n"), []byte("\r\n")), "holds a private key" + private},
		"private key, DER":   {pkcs8, "holds a private key" + private},
		"private PKCS #1":    {x509.MarshalPKCS1PrivateKey(key), "holds an RSA private key" + private},
		"encrypted":          {pemBlock("ENCRYPTED PRIVATE KEY", pkcs8), "holds an encrypted private key" + private},
		"with certificate":   {join(good, pemBlock("PRIVATE KEY", pkcs8)), "holds a private key beside a certificate, but one without the private key is wanted"},
		"OpenSSH":            {pemBlock("OPENSSH PRIVATE KEY", pkcs8), "holds an OpenSSH private key" + private},
		"request":            {pemBlock("CERTIFICATE REQUEST", []byte{0x30, 0}), "holds a certificate request" + private},
		"PKCS #7":            {pemBlock("PKCS7", []byte{0x30, 0}), "holds certificates as PKCS #7" + private},
		"SSH":                {[]byte("ssh-rsa AAAA"), "holds an OpenSSH public key" + private},
		"PKCS #12":           {[]byte{0x30, 3, 2, 1, 3}, "holds a PKCS #12 store" + private},
		"something of PEM's": {pemBlock("NEW KEY", []byte{0}), `holds a PEM block "NEW KEY"` + private},
	} {
		_, parseErr := Parse(tt.data)
		_, trustErr := ParseTrust(tt.data)
		_, ofErr := ParseOf(tt.data, &key.PublicKey)
		for form, err := range map[string]error{"Parse": parseErr, "ParseTrust": trustErr, "ParseOf": ofErr} {
			if form == "ParseOf" && (strings.HasPrefix(name, "weak") || strings.HasPrefix(name, "ec ")) {
				continue // the certificate of another key
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %s: error %v does not say %q", name, form, err, tt.want)
			} else if strings.Contains(err.Error(), string(pkcs8[30:40])) || strings.Contains(err.Error(), string(pemBlock("PRIVATE KEY", pkcs8)[100:110])) {
				t.Errorf("%s, %s: error %q quotes the private key", name, form, err)
			}
		}
	}
}

var serial = big.NewInt(1)

func issued(t *testing.T, name string, by *x509.Certificate, key, issuer *rsa.PrivateKey, skid []byte) *x509.Certificate {
	t.Helper()
	return issuedUntil(t, name, by, key, issuer, skid, notAfter)
}

func issuedUntil(t *testing.T, name string, by *x509.Certificate, key, issuer *rsa.PrivateKey, skid []byte, end time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name}, SubjectKeyId: skid,
		NotBefore: notBefore, NotAfter: end, IsCA: skid != nil, BasicConstraintsValid: true,
	}
	if by == nil {
		by = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, issuer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestChains: the certificate of a key is found anywhere in a chain. Trusting a chain is refused,
// because it would mean to trust everybody who gets a certificate from the issuer.
func TestChains(t *testing.T) {
	caKey, subKey, key := testkit.Key(t, 4096), testkit.Key(t, 3072), testkit.Key(t, 2048)
	ca := issued(t, "ca", nil, caKey, caKey, []byte("caca"))
	sub := issued(t, "sub", ca, subKey, caKey, []byte("subs"))
	leaf := issued(t, "leaf", sub, key, subKey, []byte("leaf"))
	again := issued(t, "leaf", sub, key, subKey, []byte("leaf")) // renewed: the same key and id
	other := issued(t, "other", sub, key, subKey, []byte("othr"))
	none := issued(t, "ca", nil, subKey, subKey, nil)
	pems := func(certs ...*x509.Certificate) (text []byte) {
		for _, c := range certs {
			text = append(text, pemBlock("CERTIFICATE", c.Raw)...)
		}
		return text
	}
	for name, tt := range map[string]struct {
		certs []*x509.Certificate
		of    error // of ParseOf
		trust error // of ParseTrust
	}{
		"leaf first":       {[]*x509.Certificate{leaf, sub, ca}, nil, ErrChain},
		"leaf last":        {[]*x509.Certificate{ca, sub, leaf}, nil, ErrChain},
		"leaf in between":  {[]*x509.Certificate{sub, leaf, ca}, nil, ErrChain},
		"no leaf":          {[]*x509.Certificate{sub, ca}, ErrOtherKey, ErrChain},
		"without its link": {[]*x509.Certificate{leaf, ca}, nil, nil},
		"renewed":          {[]*x509.Certificate{leaf, again}, nil, nil},
		"the same twice":   {[]*x509.Certificate{leaf, leaf}, nil, nil},
		"two ids":          {[]*x509.Certificate{leaf, other}, ErrAmbiguous, errAny},
		"useless issuer":   {[]*x509.Certificate{leaf, none}, nil, ErrNoKeyID},
	} {
		text := pems(tt.certs...)
		k, err := ParseOf(text, &key.PublicKey)
		if !errors.Is(err, tt.of) || err == nil && k.ID.String() != hex.EncodeToString([]byte("leaf")) {
			t.Errorf("%s: ParseOf gives %v, %v", name, k, err)
		}
		var ders [][]byte
		for _, c := range tt.certs {
			ders = append(ders, c.Raw)
		}
		if same, sameErr := Of(ders, &key.PublicKey); !errors.Is(sameErr, tt.of) || err == nil && same.ID != k.ID {
			t.Errorf("%s: Of gives %v, %v", name, same, sameErr)
		}
		if s, err := ParseTrust(text); (err == nil) != (tt.trust == nil) || tt.trust != errAny && !errors.Is(err, tt.trust) {
			t.Errorf("%s: ParseTrust gives %v, %v", name, s, err)
		}
	}

	// A renewed certificate has other dates, and there is no reason to choose one of them.
	if s, err := ParseTrust(pems(leaf, leaf), WithDates()); err != nil {
		t.Errorf("the same twice, with dates: %v, %v", s, err)
	}
	later := issuedUntil(t, "leaf", sub, key, subKey, []byte("leaf"), notAfter.AddDate(1, 0, 0))
	if s, err := ParseTrust(pems(leaf, later), WithDates()); err == nil {
		t.Errorf("renewed, with dates: %v", s)
	}

	// An old and a new key with the same name are not a chain.
	old, next := issued(t, "signing", nil, subKey, subKey, []byte("old.")), issued(t, "signing", nil, key, key, []byte("next"))
	s, err := ParseTrust(pems(old, next))
	if err != nil || len(s.Keys()) != 2 {
		t.Errorf("two keys of one name: %v, %v", s, err)
	}
}

var errAny = errors.New("any")

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadTrust(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
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
		func() error { _, err := LoadOf(t.Context(), large, nil); return err },
		func() error { _, err := LoadTrust(t.Context(), large); return err },
	} {
		if err := load(); err == nil || !strings.Contains(err.Error(), "more than") || !strings.Contains(err.Error(), large) {
			t.Errorf("a file of a terabyte: %v", err)
		}
	}
}

// TestAgainstEvmctl compares key ids with those that evmctl writes, for certificates of openssl
// with its own and with an arbitrary SKID.
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
			k, err := LoadOf(t.Context(), filepath.Join(dir, cert), &key.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			if k.ID != v.KeyID {
				t.Errorf("SKID %s, %s: id %v, evmctl has %v", skid, cert, k.ID, v.KeyID)
			}
		}
	}
}
