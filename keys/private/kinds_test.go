package private

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/vmseal/vmseal/keys/internal/testkit"
	"github.com/vmseal/vmseal/keys/keyfile"
)

// TestKinds tests keys of openssl and ssh-keygen that cannot sign here. The errors name the kind,
// with and without encryption: a kind that shows only after decryption must not look like a wrong
// passphrase.
func TestKinds(t *testing.T) {
	testkit.Tool(t, "openssl", "ssh-keygen", "sh")
	dir := t.TempDir()
	const certify = "openssl req -x509 -key k -subj /CN=k -out c && openssl pkcs12 -export -inkey k -in c -passout pass:x -out "
	for name, tt := range map[string]struct{ script, want string }{
		"P-256":               {"openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out k", "not an RSA key but an elliptic curve key (P-256)"},
		"P-256, SEC 1":        {"openssl ecparam -name prime256v1 -genkey -out k", "not an RSA key but an elliptic curve private key"},
		"P-256, DER":          {"openssl ecparam -name prime256v1 -genkey -noout | openssl ec -outform DER -out k", "not an RSA key but an elliptic curve private key"},
		"secp256k1":           {"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k", "(secp256k1)"},
		"secp256k1 encrypted": {"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -aes256 -pass pass:x -out k", "(secp256k1)"},
		"brainpool":           {"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out k", "(brainpoolP256r1)"},
		"named parameters":    {"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out k", "not an RSA key but an elliptic curve key"},
		"Ed25519":             {"openssl genpkey -algorithm ed25519 -out k", "not an RSA key but an Ed25519 key"},
		"Ed25519, PKCS #12":   {"openssl genpkey -algorithm ed25519 -out k && " + certify + "p && mv p k", "not an RSA key but an Ed25519 key"},
		"Ed448":               {"openssl genpkey -algorithm ed448 -out k", "not an RSA key but an Ed448 key"},
		"Ed448 encrypted":     {"openssl genpkey -algorithm ed448 -aes128 -pass pass:x -out k", "not an RSA key but an Ed448 key"},
		"X25519":              {"openssl genpkey -algorithm x25519 -out k", "not an RSA key but an X25519 key"},
		"X448":                {"openssl genpkey -algorithm x448 -out k", "not an RSA key but an X448 key"},
		"DSA":                 {"openssl dsaparam -genkey -noout 1024 | openssl pkcs8 -topk8 -nocrypt -out k", "not an RSA key but a DSA key"},
		"DSA, DER":            {"openssl dsaparam -genkey -noout 1024 | openssl dsa -outform DER -out k", "not an RSA key but a DSA private key"},
		"SM2":                 {"openssl genpkey -algorithm SM2 -out k", "not an RSA key but a"},
		"PSS":                 {"openssl genpkey -algorithm RSA-PSS -out k", "holds an RSA private key for PSS only"},
		"PSS encrypted":       {"openssl genpkey -algorithm RSA-PSS -aes256 -pass pass:x -out k", "holds an RSA private key for PSS only"},
		"PSS with parameters": {"openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_pss_keygen_md:sha256 -out k", "holds an RSA private key for PSS only"},
		"PSS, traditional":    {"openssl genpkey -algorithm RSA-PSS | openssl rsa -traditional -out k", "holds an RSA private key for PSS only"},
		"PSS, DER":            {"openssl genpkey -algorithm RSA-PSS -outform DER -out k", "holds an RSA private key for PSS only"},
		"512 bits":            {"openssl genrsa -out k 512", "RSA key of 512 bits, but 2048 to 8192 are allowed"},
		"1024 bits":           {"openssl genrsa -out k 1024", "RSA key of 1024 bits"},
		"1024 bits, old way":  {"openssl genrsa -traditional -aes128 -passout pass:x -out k 1024", "RSA key of 1024 bits"},
		"1024 bits, new way":  {"openssl genrsa -aes128 -passout pass:x -out k 1024", "RSA key of 1024 bits"},
		"1024 bits, PKCS #12": {"openssl genrsa -out k 1024 && " + certify + "p && mv p k", "RSA key of 1024 bits"},
		"2047 bits":           {"openssl genrsa -out k 2047", "RSA key of 2047 bits"},
		"exponent 3":          {"openssl genrsa -3 -out k 2048", "RSA exponent 3 is not"},
		"exponent 2^32+15":    {"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_pubexp:4294967311 -out k", "RSA exponent of 33 bits, at most 31 are allowed"},
		"exponent 2^64+13":    {"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_pubexp:18446744073709551629 -out k", "RSA exponent of 65 bits, at most 31 are allowed"},
		"OpenSSH RSA":         {"ssh-keygen -q -t rsa -N '' -f k", "holds an OpenSSH private key"},
		"OpenSSH encrypted":   {"ssh-keygen -q -t rsa -N passphrase -f k", "holds an OpenSSH private key"},
		"OpenSSH Ed25519":     {"ssh-keygen -q -t ed25519 -N passphrase -f k", `not an RSA key but an OpenSSH key of type "ssh-ed25519"`},
		"OpenSSH P-256":       {"ssh-keygen -q -t ecdsa -N '' -f k", `not an RSA key but an OpenSSH key of type "ecdsa-sha2-nistp256"`},
		"OpenSSH public":      {"ssh-keygen -q -t rsa -N '' -f k && mv k.pub k", "holds an OpenSSH public key"},
		"request":             {"openssl req -new -newkey rsa:2048 -nodes -keyout x -subj /CN=k -outform DER -out k", "holds a certificate request"},
		"certificate":         {"openssl req -x509 -newkey rsa:2048 -nodes -keyout x -subj /CN=k -outform DER -out k", "holds a certificate, but"},
		"parameters":          {"openssl ecparam -name prime256v1 -out k", `holds a PEM block "EC PARAMETERS", but`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			testkit.Run(t, dir, "mkdir", own)
			testkit.Run(t, own, "sh", "-c", tt.script)
			_, err := Open(t.Context(), filepath.Join(own, "k"), Options{Passphrase: fixed("x")})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
			// Commands have hints for these errors.
			_, form := errors.AsType[*keyfile.FormError](err)
			if n := count(form, errors.Is(err, ErrNotRSA), errors.Is(err, ErrWeak)); n != 1 {
				t.Errorf("%v is %d of the errors with a hint", err, n)
			}
		})
	}
}

func count(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// TestInconsistentKeys changes one number of a key. No such key may sign: its signatures do not
// verify, and may reveal the key.
func TestInconsistentKeys(t *testing.T) {
	good := x509.MarshalPKCS1PrivateKey(testkit.Key(t, 2048))
	var numbers struct {
		Version                     int
		N, E, D, P, Q, DP, DQ, QInv *big.Int
	}
	if _, err := asn1.Unmarshal(good, &numbers); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]*big.Int{
		"modulus": numbers.N, "private exponent": numbers.D, "prime 1": numbers.P, "prime 2": numbers.Q,
		"exponent 1": numbers.DP, "exponent 2": numbers.DQ, "coefficient": numbers.QInv,
	} {
		n.Add(n, big.NewInt(2))
		der, err := asn1.Marshal(numbers)
		if err != nil {
			t.Fatal(err)
		}
		n.Sub(n, big.NewInt(2))
		_, err = Parse(t.Context(), pem.EncodeToMemory(&pem.Block{Type: keyfile.PKCS1, Bytes: der}), "key", Options{})
		if err == nil || !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	der, err := asn1.Marshal(numbers)
	if err != nil || !bytes.Equal(der, good) {
		t.Fatalf("the test does not restore the key: %v", err)
	}
}

// TestPassphrasesOfForms: each encrypted form asks once, and its error says that the passphrase is
// wrong.
func TestPassphrasesOfForms(t *testing.T) {
	testkit.Tool(t, "openssl", "sh")
	dir := t.TempDir()
	key := testkit.Key(t, 2048)
	testkit.WritePrivate(t, filepath.Join(dir, "plain.pem"), key)
	testkit.Run(t, dir, "openssl", "req", "-x509", "-key", "plain.pem", "-subj", "/CN=k", "-out", "c.pem")
	path := filepath.Join(dir, "k")
	for _, args := range []string{
		"rsa -in plain.pem -traditional -des -out k -passout",
		"rsa -in plain.pem -traditional -des3 -out k -passout",
		"rsa -in plain.pem -traditional -aes128 -out k -passout",
		"rsa -in plain.pem -traditional -aes192 -out k -passout",
		"rsa -in plain.pem -traditional -aes256 -out k -passout",
		"pkcs8 -in plain.pem -topk8 -outform DER -out k -passout",
		"pkcs12 -export -inkey plain.pem -in c.pem -out k -passout",
	} {
		if strings.Contains(args, " -des ") {
			args = strings.Replace(args, "-des ", "-provider default -provider legacy -des ", 1)
		}
		testkit.Run(t, dir, "openssl", append(strings.Fields(args), "pass:"+secret)...)
		asked := 0
		k, err := Open(t.Context(), path, Options{Passphrase: func(ctx context.Context, prompt string) ([]byte, error) {
			asked++
			return fixed(secret)(ctx, prompt)
		}})
		if err != nil || asked != 1 {
			t.Errorf("%s: %v, asked %d times", args, err, asked)
			continue
		}
		isKey(t, k, key)
		if _, err := Open(t.Context(), path, Options{Passphrase: fixed("wrong horse")}); !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s, wrong passphrase: %v", args, err)
		}
		if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrPassphraseRequired) {
			t.Errorf("%s, no passphrase: %v", args, err)
		}
		testkit.Run(t, dir, "rm", "k")
	}
}

// TestPKCS12IsBounded tests stores that request more work than a key is worth, in every place that
// can.
func TestPKCS12IsBounded(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	testkit.WritePrivate(t, filepath.Join(dir, "k.pem"), testkit.Key(t, 2048))
	testkit.Run(t, dir, "openssl", "req", "-x509", "-key", "k.pem", "-subj", "/CN=k", "-out", "c.pem")
	ask := func() ([]byte, error) { return []byte("x"), nil }
	for _, args := range []string{"", "-descert -keypbe PBE-SHA1-3DES", "-certpbe NONE", "-keypbe NONE"} {
		args := append(strings.Fields("pkcs12 -export -inkey k.pem -in c.pem -passout pass:x -iter 100001"), strings.Fields(args)...)
		good := testkit.Run(t, dir, "openssl", args...)
		if _, err := parsePKCS12(good, ask); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		number, large := []byte{2, 3, 1, 0x86, 0xa1}, []byte{2, 3, 0x7f, 0xff, 0xff} // 100001 and 2^23-1
		n := bytes.Count(good, number)
		if n < 2 {
			t.Fatalf("%v: %d numbers of iterations found", args, n)
		}
		for i := range n {
			bad, at := bytes.Clone(good), 0
			for range i + 1 {
				at += bytes.Index(bad[at:], number) + 1
			}
			copy(bad[at-1:], large)
			asked := func() ([]byte, error) { t.Errorf("%v: asks for the passphrase", args); return nil, nil }
			if _, err := parsePKCS12(bad, asked); !errors.Is(err, ErrPKCS12) || !strings.HasSuffix(err.Error(), "8388607 iterations") {
				t.Errorf("%v, place %d of %d: %v", args, i+1, n, err)
			}
		}
	}
}

// TestPKCS12Refuses tests stores that the library does not read.
func TestPKCS12Refuses(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	testkit.WritePrivate(t, filepath.Join(dir, "k.pem"), testkit.Key(t, 2048))
	testkit.Run(t, dir, "openssl", "req", "-x509", "-key", "k.pem", "-subj", "/CN=k", "-out", "c.pem")
	export := func(args string) []byte {
		return testkit.Run(t, dir, "openssl", strings.Fields("pkcs12 -export -passout pass:"+secret[:7]+" "+args)...)
	}
	good := export("-inkey k.pem -in c.pem")
	for name, der := range map[string][]byte{
		"no certificate":    export("-inkey k.pem -nocerts"),
		"no key":            export("-nokeys -in c.pem"),
		"no MAC":            export("-inkey k.pem -in c.pem -nomac"),
		"unknown cipher":    export("-inkey k.pem -in c.pem -certpbe camellia-256-cbc"),
		"indefinite length": append(append([]byte{0x30, 0x80}, good[4:]...), 0, 0),
		"damaged":           append(bytes.Clone(good[:40]), bytes.Repeat([]byte{0xff}, len(good)-40)...),
	} {
		_, err := Parse(t.Context(), der, "store.p12", Options{Passphrase: fixed(secret[:7])})
		if !errors.Is(err, ErrPKCS12) || strings.Contains(err.Error(), secret[:7]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSigstore opens keys that sigstore's library encrypts, under both labels.
func TestSigstore(t *testing.T) {
	pass := cryptoutils.StaticPasswordFunc([]byte(secret))
	text, public, err := cryptoutils.GeneratePEMEncodedRSAKeyPair(2048, pass)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	curve, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), pass)
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{keyfile.Sigstore, keyfile.Cosign} {
		text := bytes.ReplaceAll(text, []byte(keyfile.Sigstore), []byte(label))
		k, err := Parse(t.Context(), text, "key", Options{Passphrase: fixed(secret)})
		if err != nil || !k.Public().(*rsa.PublicKey).Equal(pub) {
			t.Errorf("%s: %v", label, err)
		}
		if _, err := Parse(t.Context(), text, "key", Options{Passphrase: fixed("wrong horse")}); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s, wrong passphrase: %v", label, err)
		}
		if _, err := Parse(t.Context(), text, "key", Options{}); !errors.Is(err, ErrPassphraseRequired) {
			t.Errorf("%s, no passphrase: %v", label, err)
		}
	}
	if _, err := Parse(t.Context(), curve, "key", Options{Passphrase: fixed(secret)}); !errors.Is(err, ErrNotRSA) {
		t.Errorf("ECDSA: %v", err)
	}
}

// TestCertificatesBeside: the certificates beside the key are returned with it, and the name of the
// file.
func TestCertificatesBeside(t *testing.T) {
	key := testkit.Key(t, 2048)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, b := range []pem.Block{
		{Type: "CERTIFICATE", Bytes: []byte{1}}, {Type: "CERTIFICATE REQUEST", Bytes: []byte{2}}, {Type: "PRIVATE KEY", Bytes: der},
		{Type: "X509 CERTIFICATE", Bytes: []byte{3}}, {Type: "TRUSTED CERTIFICATE", Bytes: []byte{4}}, {Type: "PUBLIC KEY", Bytes: []byte{5}},
	} {
		text = append(text, pem.EncodeToMemory(&b)...)
	}
	k, err := Parse(t.Context(), text, "key.pem", Options{})
	if err != nil {
		t.Fatal(err)
	}
	isKey(t, k, key)
	if want := [][]byte{{1}, {3}, {4}}; k.Name != "key.pem" || !reflect.DeepEqual(k.Certificates, want) {
		t.Errorf("%s with certificates %x, want %x", k.Name, k.Certificates, want)
	}
}
