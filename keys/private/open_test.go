package private

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/internal/testkit"
	"github.com/vmseal/vmseal/keys/keyfile"
)

const secret = "correct horse battery staple"

func fixed(pass string) func(context.Context, string) ([]byte, error) {
	return func(context.Context, string) ([]byte, error) { return []byte(pass), nil }
}

func isKey(t *testing.T, s crypto.Signer, key *rsa.PrivateKey) {
	t.Helper()
	if pub, ok := s.Public().(*rsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		t.Error("another key")
	}
}

func TestOpenForms(t *testing.T) {
	key := testkit.Key(t, 2048)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, text := range map[string][]byte{
		"PKCS #8":   text,
		"PKCS #1":   pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"with text": append([]byte("Bag Attributes\n    friendlyName: x\n"), text...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			testkit.Write(t, path, text)
			asked := func(context.Context, string) ([]byte, error) { t.Error("asks for a passphrase"); return nil, nil }
			warned := func(err error) { t.Errorf("warns: %v", err) }
			s, err := Open(context.Background(), path, Options{Passphrase: asked, Warn: warned})
			if err != nil {
				t.Fatal(err)
			}
			isKey(t, s, key)
			t.Setenv("TEST_KEY", string(text))
			if s, err = Open(context.Background(), "env://TEST_KEY", Options{}); err != nil {
				t.Fatal(err)
			}
			isKey(t, s, key)
		})
	}
}

// TestOpenEncrypted opens keys that openssl encrypts, first with its defaults.
func TestOpenEncrypted(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	key := testkit.Key(t, 2048)
	testkit.WritePrivate(t, filepath.Join(dir, "plain.pem"), key)
	path := filepath.Join(dir, "key.pem")
	for _, args := range []string{
		"", "-v2 aes-128-cbc", "-v2 aes-192-cbc", "-v2 aes-256-cbc", "-v2 des3",
		"-v2prf hmacWithSHA1", "-v2prf hmacWithSHA224", "-v2prf hmacWithSHA256", "-v2prf hmacWithSHA384", "-v2prf hmacWithSHA512", "-v2prf hmacWithSHA512-224", "-v2prf hmacWithSHA512-256", "-iter 100000", "-scrypt", "-scrypt -scrypt_N 8192 -scrypt_p 2",
	} {
		t.Run(args, func(t *testing.T) {
			os.Remove(path)
			testkit.Run(t, dir, "openssl", append([]string{"pkcs8", "-topk8", "-in", "plain.pem", "-out", "key.pem", "-passout", "pass:" + secret}, strings.Fields(args)...)...)
			prompts := 0
			ask := func(_ context.Context, prompt string) ([]byte, error) {
				if prompts++; !strings.Contains(prompt, path) {
					t.Errorf("prompt %q does not name %s", prompt, path)
				}
				return []byte(secret), nil
			}
			s, err := Open(context.Background(), path, Options{Passphrase: ask})
			if err != nil {
				t.Fatal(err)
			}
			isKey(t, s, key)
			if prompts != 1 {
				t.Errorf("asked %d times", prompts)
			}
			if _, err := Open(context.Background(), path, Options{Passphrase: fixed("wrong horse")}); !errors.Is(err, ErrPassphrase) {
				t.Errorf("wrong passphrase: %v", err)
			}
		})
	}
}

func TestOpenEncryptedRefuses(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	testkit.WritePrivate(t, filepath.Join(dir, "plain.pem"), testkit.Key(t, 2048))
	for args, want := range map[string]error{
		"pkcs8 -topk8 -in plain.pem -out key.pem -v2 camellia-256-cbc -passout": ErrEncryption,
		"pkcs8 -topk8 -in plain.pem -out key.pem -v1 PBE-SHA1-3DES -passout":    ErrEncryption,
		"rsa -traditional -camellia128 -in plain.pem -out key.pem -passout":     ErrEncryption,
	} {
		testkit.Run(t, dir, "openssl", append(strings.Fields(args), "pass:"+secret)...)
		ask := func(context.Context, string) ([]byte, error) {
			t.Errorf("%s: asks for a passphrase", args)
			return []byte(secret), nil
		}
		_, err := Open(context.Background(), filepath.Join(dir, "key.pem"), Options{Passphrase: ask})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", args, err, want)
		}
		os.Remove(filepath.Join(dir, "key.pem"))
	}
}

func TestPassphrases(t *testing.T) {
	dir := t.TempDir()
	if _, err := Generate(filepath.Join(dir, "k"), GenerateOptions{Passphrase: []byte(secret)}); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "k", PrivateFile)
	file := filepath.Join(dir, "pass")
	open := func(opt Options) error {
		_, err := Open(context.Background(), key, opt)
		return err
	}
	for _, end := range []string{"", "\n", "\r\n"} {
		testkit.Write(t, file, []byte(secret+end))
		if err := open(Options{PassphraseFile: file, Passphrase: fixed("not asked")}); err != nil {
			t.Errorf("file that ends in %q: %v", end, err)
		}
	}
	for text, want := range map[string]string{
		"":                       "empty",
		"\n":                     "empty",
		secret + "\n\n":          "more than one line",
		"first\n" + secret:       "more than one line",
		secret + " ":             "wrong passphrase",
		strings.Repeat("x", 5e3): "more than 4096 bytes",
	} {
		testkit.Write(t, file, []byte(text))
		if err := open(Options{PassphraseFile: file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("file of %d bytes: %v, want %q", len(text), err, want)
		}
	}
	if err := open(Options{}); !errors.Is(err, ErrPassphraseRequired) {
		t.Errorf("no passphrase: %v", err)
	}
	if err := open(Options{Passphrase: fixed("")}); !errors.Is(err, ErrPassphraseRequired) {
		t.Errorf("an empty passphrase: %v", err)
	}
	if err := open(Options{PassphraseFile: filepath.Join(dir, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no passphrase file: %v", err)
	}
	closed := errors.New("terminal closed")
	if err := open(Options{Passphrase: func(context.Context, string) ([]byte, error) { return nil, closed }}); !errors.Is(err, closed) {
		t.Errorf("a prompt that fails: %v", err)
	}
}

// TestOpenRefuses also checks that no error contains a secret.
func TestOpenRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	block := func(label string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
	}
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return block("PRIVATE KEY", der)
	}
	good := pkcs8(testkit.Key(t, 2048))
	body := strings.Split(good, "\n")[3]
	for name, tt := range map[string]struct{ text, want string }{
		"empty":       {"", "unset or empty"},
		"no PEM":      {"hunter2", "neither PEM nor DER"},
		"base64":      {"aHVudGVyMmh1bnRlcjI=", "neither PEM nor DER"},
		"cut":         {good[:500], "damaged"},
		"bad base64":  {strings.Replace(good, "MII", "M!I", 1), "damaged"},
		"bad DER":     {block("PRIVATE KEY", []byte("hunter2")), "damaged"},
		"bad PKCS1":   {block("RSA PRIVATE KEY", []byte("hunter2")), "damaged"},
		"bad PBES2":   {block("ENCRYPTED PRIVATE KEY", []byte("hunter2")), "damaged"},
		"two keys":    {good + good, "holds 2 private keys, but exactly one private key is expected"},
		"three keys":  {good + pkcs8(ec) + block("OPENSSH PRIVATE KEY", []byte{0}), "holds 3 private keys"},
		"one damaged": {good + good[:500], "PEM block 2 (\"PRIVATE KEY\") is damaged"},
		"certificate": {block("CERTIFICATE", []byte{0}), "holds a certificate, but an RSA private key"},
		"public key":  {block("PUBLIC KEY", []byte{0}), "holds a public key, but an RSA private key"},
		"TPM":         {block("TSS2 PRIVATE KEY", []byte{0}), "holds a private key that only a TPM can use"},
		"unknown":     {block("NEW PRIVATE KEY", []byte{0}), `holds a PEM block "NEW PRIVATE KEY", but`},
		"weak":        {pkcs8(testkit.Key(t, 1024)), "1024 bits"},
		"ECDSA":       {pkcs8(ec), "not an RSA key but an elliptic curve key (P-384)"},
		"SEC 1":       {block("EC PRIVATE KEY", ecDER), "not an RSA key but an elliptic curve private key"},
		"Ed25519":     {pkcs8(ed), "not an RSA key but an Ed25519 key"},
	} {
		t.Setenv("TEST_KEY", tt.text)
		_, err := Open(context.Background(), "env://TEST_KEY", Options{Passphrase: fixed(secret)})
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "TEST_KEY") {
			t.Errorf("%s: error %q does not name %q and the variable", name, err, tt.want)
		}
		for _, s := range []string{"hunter2", secret, body} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q gives a secret away", name, err)
			}
		}
	}
}

func TestOpenReferences(t *testing.T) {
	open := func(ref string) error {
		_, err := Open(context.Background(), ref, Options{})
		return err
	}
	for _, ref := range []string{"pkcs11:object=k;pin-value=1234", "awskms:///alias/x", "gcpkms://p", "azurekms://v", "hashivault://k", "https://u:1234@host/k"} {
		if err := open(ref); !errors.Is(err, ErrScheme) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := open(filepath.Join(t.TempDir(), "none.pem")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := open("env://SURELY_NOT_SET_ANYWHERE"); err == nil || !strings.Contains(err.Error(), "SURELY_NOT_SET_ANYWHERE") {
		t.Errorf("a missing variable: %v", err)
	}
	large := filepath.Join(t.TempDir(), "large")
	testkit.Write(t, large, nil)
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := open(large); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("a file of a terabyte: %v", err)
	}
	if err := open(""); err == nil || err.Error() != "empty key reference" {
		t.Errorf("no reference: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, large, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestOpenWarns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	testkit.WritePrivate(t, path, testkit.Key(t, 2048))
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var warnings []error
		if _, err := Open(context.Background(), path, Options{Warn: func(err error) { warnings = append(warnings, err) }}); err != nil {
			t.Fatal(err)
		}
		if warned := len(warnings) == 1 && errors.Is(warnings[0], ErrExposed); warned != want {
			t.Errorf("mode %04o: warnings %v", mode, warnings)
		}
	}
	// Files that are not keys need no protection.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, path, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	_, err := Open(context.Background(), path, Options{Warn: func(err error) { t.Errorf("warning: %v", err) }})
	if err == nil || !strings.Contains(err.Error(), "holds a certificate, but") {
		t.Error(err)
	}
}

// TestParsePBES2 tests parameters that no honest file has. Without checks the libraries would
// panic, hang or use all memory.
func TestParsePBES2(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	testkit.WritePrivate(t, filepath.Join(dir, "plain.pem"), testkit.Key(t, 2048))
	der := func(args ...string) []byte {
		args = append([]string{"pkcs8", "-topk8", "-outform", "DER", "-in", "plain.pem", "-passout", "pass:x"}, args...)
		return testkit.Run(t, dir, "openssl", args...)
	}
	pbkdf2, scrypt := der("-iter", "2048"), der("-scrypt", "-scrypt_N", "16384")
	for _, good := range [][]byte{pbkdf2, scrypt} {
		if _, err := parsePBES2(good); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(der []byte, old, new string) []byte {
		if !bytes.Contains(der, []byte(old)) {
			t.Fatalf("no %x in the parameters", old)
		}
		return bytes.Replace(der, []byte(old), []byte(new), 1)
	}
	iv := string([]byte{0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a, 4, 0x10}) // aes-256-cbc, OCTET STRING of 16
	for name, der := range map[string][]byte{
		"cut":                 pbkdf2[:len(pbkdf2)-16],
		"trailing":            append(bytes.Clone(pbkdf2), 0),
		"no iterations":       replace(pbkdf2, "\x02\x02\x08\x00", "\x02\x02\x00\x00"),
		"negative iterations": replace(pbkdf2, "\x02\x02\x08\x00", "\x02\x02\x88\x00"),
		"iv of another size":  replace(pbkdf2, iv, iv[:len(iv)-1]+"\x0f"),
		"many iterations":     replace(der("-iter", "100000"), "\x02\x03\x01\x86\xa0", "\x02\x03\x7f\xff\xff"),
		"scrypt N":            replace(scrypt, "\x02\x02\x40\x00", "\x02\x02\x00\x00"),
		"scrypt r":            replace(scrypt, "\x02\x02\x40\x00\x02\x01\x08", "\x02\x02\x40\x00\x02\x01\x00"),
		"scrypt p":            replace(scrypt, "\x02\x01\x08\x02\x01\x01", "\x02\x01\x08\x02\x01\x7f"),
		"scrypt memory":       replace(scrypt, "\x02\x02\x40\x00\x02\x01\x08", "\x02\x02\x40\x00\x02\x01\x7f"),
	} {
		if _, err := parsePBES2(der); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestKeyLength tests parameters with the optional key length, which other tools may write.
func TestKeyLength(t *testing.T) {
	hmac := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}
	for length, want := range map[int]error{0: nil, 32: nil, 16: ErrEncryption} {
		for name, kdf := range map[string]struct {
			params any
			parse  func(pkix.AlgorithmIdentifier, int) (func([]byte, int) ([]byte, error), error)
		}{
			"PBKDF2": {pbkdf2Params{Salt: make([]byte, 8), Iterations: 2048, KeyLength: length, PRF: hmac}, parsePBKDF2},
			"scrypt": {scryptParams{Salt: make([]byte, 8), N: 1024, R: 8, P: 1, KeyLength: length}, parseScrypt},
		} {
			params, err := asn1.Marshal(kdf.params)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kdf.parse(pkix.AlgorithmIdentifier{Parameters: asn1.RawValue{FullBytes: params}}, 32); !errors.Is(err, want) {
				t.Errorf("%s, key length %d: %v, want %v", name, length, err, want)
			}
		}
	}
}

// FuzzParse: for any file, Parse returns an error or a key, in a short time.
func FuzzParse(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := marshalPrivate(key, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(bytes.ReplaceAll(plain, []byte("PRIVATE"), []byte("RSA PRIVATE")))
	f.Add(bytes.ReplaceAll(plain, []byte("PRIVATE"), []byte("ENCRYPTED PRIVATE")))
	pub, err := keys.NewPublicKey(&key.PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	text, err := certificate(key, pub, "x")
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	for _, encoder := range []*pkcs12.Encoder{pkcs12.Passwordless, pkcs12.LegacyRC2, pkcs12.Modern2026} {
		store, err := encoder.Encode(key, cert, nil, "")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(store)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: keyfile.OpenSSH, Bytes: []byte("openssh-key-v1\x00\x00\x00\x00\x04none")}))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(t.Context(), text, "fuzz", Options{})
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
	})
}
