package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/keys/internal/testkit"
)

// TestSPKIAgainstX509 compares the package with crypto/x509, which the package itself must not
// import.
func TestSPKIAgainstX509(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096} {
		k := newKey(t, bits)
		want, err := x509.MarshalPKIXPublicKey(k.RSA)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.MarshalDER(), want) {
			t.Errorf("%d bits: DER differs from x509's", bits)
		}
		back, err := ParsePublicDER(want)
		if err != nil || !back.RSA.Equal(k.RSA) || back.ID != k.ID {
			t.Errorf("%d bits: %v, %v", bits, back, err)
		}
		if block, rest := pem.Decode(MarshalPEM(k)); block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 || !bytes.Equal(block.Bytes, want) {
			t.Errorf("%d bits: PEM is\n%s", bits, MarshalPEM(k))
		}
		if sum := sha1.Sum(x509.MarshalPKCS1PublicKey(k.RSA)); SubjectKeyID(k) != sum {
			t.Errorf("%d bits: id %x, want %x", bits, SubjectKeyID(k), sum)
		}
	}
}

// TestSPKIAgainstOpenssl parses keys that openssl writes, and compares fingerprints with openssl's.
func TestSPKIAgainstOpenssl(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	testkit.WritePrivate(t, filepath.Join(dir, "key.pem"), testkit.Key(t, 2048))
	testkit.Run(t, dir, "openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem")
	testkit.Run(t, dir, "openssl", "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "pub.der")
	text, err := os.ReadFile(filepath.Join(dir, "pub.pem"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile(filepath.Join(dir, "pub.der"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParsePublicDER(der)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(MarshalPEM(k), text) {
		t.Errorf("PEM differs from openssl's:\n%s\n%s", MarshalPEM(k), text)
	}
	sum := testkit.Run(t, dir, "openssl", "dgst", "-sha256", "-r", "pub.der")
	if fp, _, _ := strings.Cut(string(sum), " "); Fingerprint(k) != fp {
		t.Errorf("fingerprint %s, openssl has %s", Fingerprint(k), fp)
	}
}

func TestParsePublicRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := newKey(t, 2048).MarshalDER()
	null := bytes.Index(der, []byte{5, 0}) // the algorithm's parameters

	// encoding/asn1 ignores an additional member at the end of a sequence.
	var outer []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	longer, err := asn1.Marshal(append(outer, asn1.NullRawValue))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key  any
		der  []byte
		want string
	}{
		"ecdsa":      {ec.Public(), nil, "an elliptic curve key"},
		"ed25519":    {ed, nil, "an Ed25519 key"},
		"weak":       {&testkit.Key(t, 1024).PublicKey, nil, "1024 bits"},
		"empty":      {nil, nil, "not a public key"},
		"cut":        {nil, der[:100], "not a public key"},
		"trailing":   {nil, append(bytes.Clone(der), 0), "nothing behind it"},
		"member":     {nil, longer, "canonical"},
		"parameters": {nil, bytes.Replace(der, der[null:null+2], []byte{4, 0}, 1), "no algorithm parameters"},
	} {
		if tt.key != nil {
			if tt.der, err = x509.MarshalPKIXPublicKey(tt.key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ParsePublicDER(tt.der); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tt.want)
		}
	}
}
