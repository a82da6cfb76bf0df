package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

// newKey returns a key of the given size whose id is the size.
func newKey(t testing.TB, bits int) *Key {
	return &Key{RSA: &testkit.Key(t, bits).PublicKey, ID: digsig.KeyID{2: byte(bits >> 8), 3: byte(bits)}}
}

func TestCheckRefuses(t *testing.T) {
	n := testkit.Key(t, 2048).N
	for name, pub := range map[string]*rsa.PublicKey{
		"nil":           nil,
		"no modulus":    {E: 65537},
		"1024 bits":     &testkit.Key(t, 1024).PublicKey,
		"2047 bits":     {N: new(big.Int).SetBit(new(big.Int).Rsh(n, 1), 0, 1), E: 65537},
		"8193 bits":     {N: new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), 8192), 0, 1), E: 65537},
		"negative":      {N: new(big.Int).Neg(n), E: 65537},
		"even":          {N: new(big.Int).Lsh(n, 1), E: 65537},
		"exponent 1":    {N: n, E: 1},
		"exponent 3":    {N: n, E: 3},
		"even exponent": {N: n, E: 65538},
		"huge exponent": {N: n, E: 1<<32 + 1},
		"negative e":    {N: n, E: -65537},
	} {
		if err := (&Key{RSA: pub}).Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, exponent := range []int{65537, 1<<31 - 1} {
		if err := (&Key{RSA: &rsa.PublicKey{N: n, E: exponent}}).Check(); err != nil {
			t.Errorf("exponent %d: %v", exponent, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"": true, "release: builds, Übung": true, strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false, "two\nlines": false, "a\x1b[1m": false, "\xff": false, " x": false, "x ": false, "a\u200eb": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidAt(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		notBefore, notAfter time.Time
		says                string // "" if it is valid
	}{
		"open":            {time.Time{}, time.Time{}, ""},
		"within":          {now.Add(-time.Hour), now.Add(time.Hour), ""},
		"at its ends":     {now, now, ""},
		"from, open":      {now.Add(-time.Hour), time.Time{}, ""},
		"until":           {time.Time{}, now.Add(time.Hour), ""},
		"not yet":         {now.Add(time.Second), time.Time{}, "valid from 2026-05-01T12:00:01Z"},
		"not yet, closed": {now.Add(time.Second), now.Add(time.Hour), "valid from 2026-05-01T12:00:01Z"},
		"no longer":       {time.Time{}, now.Add(-time.Second), "valid until 2026-05-01T11:59:59Z"},
		"no longer, from": {now.Add(-time.Hour), now.Add(-time.Minute), "valid until 2026-05-01T11:59:00Z"},
	} {
		k := newKey(t, 2048)
		k.NotBefore, k.NotAfter = tt.notBefore, tt.notAfter
		err := k.ValidAt(now)
		if tt.says == "" && err != nil || tt.says != "" && (!errors.Is(err, ErrNotValid) || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDER compares the package with crypto/x509, which the package itself must not import.
func TestDER(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096} {
		k := newKey(t, bits)
		want, err := x509.MarshalPKIXPublicKey(k.RSA)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.MarshalDER(), want) {
			t.Errorf("%d bits: DER differs from x509's", bits)
		}
		if back, err := ParseDER(want); err != nil || !back.RSA.Equal(k.RSA) {
			t.Errorf("%d bits: %v, %v", bits, back, err)
		}
	}
}

func TestParseDERRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	der := newKey(t, 2048).MarshalDER()
	null := bytes.Index(der, []byte{5, 0}) // the algorithm's parameters
	changed := func(at int, b byte) []byte {
		c := bytes.Clone(der)
		c[at] = b
		return c
	}
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
		der  []byte
		want string
	}{
		"nothing":    {nil, "not a public key"},
		"text":       {[]byte("hello"), "not a public key"},
		"cut":        {der[:100], "not a public key"},
		"ecdsa":      {foreign, "not an RSA public key"},
		"PSS only":   {changed(null-1, 10), "canonical"}, // id-RSASSA-PSS, RFC 8017, appendix A.2.3
		"parameters": {changed(null, 4), "canonical"},
		"trailing":   {append(bytes.Clone(der), 0), "canonical"},
		"member":     {longer, "canonical"},
		"weak":       {newKey(t, 1024).MarshalDER(), "1024 bits"},
	} {
		if k, err := ParseDER(tt.der); k != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tt.want)
		}
	}
}

func FuzzParseDER(f *testing.F) {
	der := newKey(f, 2048).MarshalDER()
	f.Add(der)
	f.Add(der[:len(der)-1])
	f.Add(append(bytes.Clone(der), 0))
	f.Fuzz(func(t *testing.T, der []byte) {
		if k, err := ParseDER(der); err == nil && (!bytes.Equal(k.MarshalDER(), der) || k.Check() != nil) {
			t.Fatal("a key with two encodings, or one that must not be used")
		}
	})
}
