package keys

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

// fullStore returns a store with a key that has all properties and a key that has none.
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
	if _, err := ParseTrustStore(text[1:]); err == nil {
		t.Error("a damaged store is accepted")
	}
}

// TestTrustStoreIsItsOwn: a store does not change when its keys change outside.
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

func TestNewTrustStoreRefuses(t *testing.T) {
	fraction := newKey(t, 2048)
	fraction.NotAfter = time.Unix(1, 1)
	name := newKey(t, 2048)
	name.Name = "two\nlines"
	for i, keys := range [][]*PublicKey{{}, {nil}, {{}}, {fraction}, {name}, {newKey(t, 2048), newKey(t, 2048)}} {
		if _, err := NewTrustStore(keys...); err == nil {
			t.Errorf("store %d is accepted", i)
		}
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	for name, pub := range map[string]*rsa.PublicKey{
		"nil":        nil,
		"no modulus": {E: 65537},
		"1024 bits":  &testkit.Key(t, 1024).PublicKey,
		"exponent 3": {N: testkit.Key(t, 2048).N, E: 3},
	} {
		if _, err := NewPublicKey(pub); err == nil {
			t.Errorf("%s: accepted", name)
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
			t.Fatalf("ParseTrustStore refuses the output of Append: %v", err)
		}
		if !bytes.Equal(again.Append(nil), s.Append(nil)) {
			t.Fatal("Append writes something else after ParseTrustStore")
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
	// A real key would fill the page. The headers are the interesting part.
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
