package keys

import (
	"bytes"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/internal/testkit"
	"github.com/vmseal/vmseal/keys/trust"
)

// fullStore has a key with everything and one with nothing.
func fullStore(t testing.TB) *TrustStore {
	a, b := newKey(t, 2048), newKey(t, 3072)
	a.ID = ima.KeyID{0xde, 0xad, 0xbe, 0xef} // as from a certificate
	a.Name = "release: builds, Übung"
	a.NotBefore = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a.NotAfter = time.Date(2036, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	return newStore(t, a, b)
}

func TestTrustStoreRoundTrip(t *testing.T) {
	want := fullStore(t)
	text := want.Append(nil)
	got, err := ParseTrustStore(text)
	if err != nil {
		t.Fatal(err)
	}
	if again := got.Append(nil); !bytes.Equal(again, text) {
		t.Errorf("written again:\n%s\nwant:\n%s", again, text)
	}
	for i, k := range got.Keys() {
		w := want.Keys()[i]
		if !k.RSA.Equal(w.RSA) || k.ID != w.ID || k.Name != w.Name || !k.NotBefore.Equal(w.NotBefore) || !k.NotAfter.Equal(w.NotAfter) {
			t.Errorf("key %d: %+v, want %+v", i, k, w)
		}
		if found, ok := got.Lookup(k.ID); !ok || !reflect.DeepEqual(found, k) {
			t.Errorf("Lookup(%v) = %v, %v", k.ID, found, ok)
		}
	}
	if _, ok := got.Lookup(ima.KeyID{}); ok {
		t.Error("Lookup finds a key that is not there")
	}
	// White space may stand around and between the blocks.
	spaced := bytes.ReplaceAll(append([]byte("\n\n"), text...), []byte("-----END PUBLIC KEY-----\n"), []byte("-----END PUBLIC KEY-----\n\n\n"))
	if _, err := ParseTrustStore(spaced); err != nil {
		t.Error(err)
	}
}

// TestTrustStoreIsItsOwn makes sure that no one can change a store from outside.
func TestTrustStoreIsItsOwn(t *testing.T) {
	k := newKey(t, 2048)
	id := k.ID
	s := newStore(t, k)
	k.NotAfter = time.Now()
	s.Keys()[0].NotAfter = time.Now()
	found, _ := s.Lookup(id)
	found.NotAfter = time.Now()
	if again, _ := s.Lookup(id); !again.NotAfter.IsZero() {
		t.Error("a key in the store was changed")
	}
}

func block(t testing.TB, k *PublicKey, headers ...string) string {
	b := &pem.Block{Type: trust.PEMType, Headers: map[string]string{}, Bytes: k.MarshalDER()}
	for i := 0; i < len(headers); i += 2 {
		b.Headers[headers[i]] = headers[i+1]
	}
	text := pem.EncodeToMemory(b)
	if text == nil {
		t.Fatal("bad headers")
	}
	return string(text)
}

func TestTrustStoreRefuses(t *testing.T) {
	a, b := newKey(t, 2048), newKey(t, 3072)
	good := string(newStore(t, a).Append(nil))
	weak := &PublicKey{RSA: &testkit.Key(t, 1024).PublicKey}
	id := func(s string) []string { return []string{"IMA-Key-Id", s} }
	with := func(name, value string) string { return block(t, a, append(id("01020304"), name, value)...) }

	for name, tt := range map[string]struct{ text, want string }{
		"nothing":         {"", "no keys"},
		"white space":     {" \n\t", "no keys"},
		"text before":     {"# keys\n" + good, "something other"},
		"text behind":     {good + "x", "something other"},
		"text between":    {good + "x\n" + block(t, b, id("01020304")...), "something other"},
		"no id":           {block(t, a), "missing"},
		"upper-case id":   {block(t, a, id("0102030A")...), "key id"},
		"short id":        {block(t, a, id("010203")...), "key id"},
		"empty id":        {block(t, a, id("")...), "key id"},
		"unknown header":  {with("Comment", "x"), `"Comment": unknown`},
		"header case":     {with("name", "x"), `"name": unknown`},
		"empty name":      {with("Name", ""), "empty"},
		"control in name": {with("Name", "a\x1b[1m"), "plain text"},
		"long name":       {with("Name", strings.Repeat("x", 129)), "129 bytes"},
		"bad utf-8":       {with("Name", "\xff"), "plain text"},
		"bad time":        {with("Not-After", "2030-01-01"), "not a time"},
		"time with zone":  {with("Not-After", "2030-01-01T00:00:00+01:00"), "not a time"},
		"time fraction":   {with("Not-After", "2030-01-01T00:00:00.5Z"), "not a time"},
		"no such day":     {with("Not-After", "2030-02-30T00:00:00Z"), "not a time"},
		"zero time":       {with("Not-After", "0001-01-01T00:00:00Z"), "not a time"},
		"ends too early":  {block(t, a, append(id("01020304"), "Not-Before", "2030-01-02T00:00:00Z", "Not-After", "2030-01-01T00:00:00Z")...), "ends before"},
		"same id":         {block(t, a, id("01020304")...) + block(t, b, id("01020304")...), "stands twice"},
		"same key":        {block(t, a, id("01020304")...) + block(t, a, id("01020305")...), "the same key"},
		"weak key":        {block(t, weak, id("01020304")...), "1024 bits"},
		"doubled header":  {strings.Replace(good, "IMA-Key-Id", "IMA-Key-Id: 01020304\nIMA-Key-Id", 1), "canonical"},
		"header order":    {strings.Replace(with("Name", "x"), "IMA-Key-Id: 01020304\nName: x", "Name: x\nIMA-Key-Id: 01020304", 1), "canonical"},
		"carriage return": {strings.ReplaceAll(good, "\n", "\r\n"), "canonical"},
		"damaged block":   {strings.Replace(good, "MII", "M!I", 1), "damaged"},
		"damaged, then good": {strings.Replace(good, "MII", "M!I", 1) + good,
			"damaged"},
		"cut block":     {good[:len(good)-10], "damaged"},
		"other block":   {strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"), `"CERTIFICATE"`},
		"private block": {strings.ReplaceAll(good, "PUBLIC KEY", "PRIVATE KEY"), `"PRIVATE KEY"`},
		"too large":     {good + strings.Repeat("\n", trust.MaxSize), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseTrustStore([]byte(tt.text))
			if err == nil {
				t.Fatalf("taken, with %d keys", len(s.Keys()))
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "trust store: ") {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestNewTrustStoreRefuses(t *testing.T) {
	fraction := newKey(t, 2048)
	fraction.NotAfter = time.Unix(1, 1)
	name := newKey(t, 2048)
	name.Name = "two\nlines"
	for i, keys := range [][]*PublicKey{{}, {nil}, {{}}, {fraction}, {name}, {newKey(t, 2048), newKey(t, 2048)}} {
		if _, err := NewTrustStore(keys...); err == nil {
			t.Errorf("store %d is taken", i)
		}
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	n := testkit.Key(t, 2048).N
	for name, pub := range map[string]*rsa.PublicKey{
		"nil":           nil,
		"no modulus":    {E: 65537},
		"1024 bits":     &testkit.Key(t, 1024).PublicKey,
		"2047 bits":     {N: new(big.Int).SetBit(new(big.Int).Rsh(n, 1), 0, 1), E: 65537},
		"8193 bits":     {N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537},
		"negative":      {N: new(big.Int).Neg(n), E: 65537},
		"even":          {N: new(big.Int).Lsh(n, 1), E: 65537},
		"exponent 1":    {N: n, E: 1},
		"exponent 3":    {N: n, E: 3},
		"even exponent": {N: n, E: 65538},
		"huge exponent": {N: n, E: 1<<32 + 1},
		"negative e":    {N: n, E: -65537},
	} {
		if _, err := NewPublicKey(pub); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseTrustStore(f *testing.F) {
	text := fullStore(f).Append(nil)
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add(bytes.Replace(text, []byte("Name"), []byte("Nome"), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseTrustStore(text)
		if err != nil {
			return
		}
		again, err := ParseTrustStore(s.Append(nil))
		if err != nil {
			t.Fatalf("what Append writes is refused: %v", err)
		}
		if !bytes.Equal(again.Append(nil), s.Append(nil)) {
			t.Fatal("the store changes from one writing to the next")
		}
	})
}

func FuzzParsePublicDER(f *testing.F) {
	der := newKey(f, 2048).MarshalDER()
	f.Add(der)
	f.Add(der[:len(der)-1])
	f.Add(append(bytes.Clone(der), 0))
	f.Fuzz(func(t *testing.T, der []byte) {
		if k, err := ParsePublicDER(der); err == nil && !bytes.Equal(k.MarshalDER(), der) {
			t.Fatal("a key with two encodings")
		}
	})
}

func ExampleTrustStore_Append() {
	// A key of the size that is needed would fill the page; its headers do not.
	k := &PublicKey{RSA: &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 65537}, ID: ima.KeyID{0xc1, 0x69, 0xa8, 0xfa}, Name: "release builds"}
	s, err := NewTrustStore(k)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(strings.Join(strings.SplitAfter(string(s.Append(nil)), "\n")[:4], ""))
	// Output:
	// -----BEGIN PUBLIC KEY-----
	// IMA-Key-Id: c169a8fa
	// Name: release builds
}
