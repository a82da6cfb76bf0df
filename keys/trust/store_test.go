package trust

import (
	"encoding/pem"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
)

// block returns a key in the form of a trust store, with these headers.
func block(t testing.TB, k *Key, headers ...string) string {
	t.Helper()
	b := &pem.Block{Type: PEMType, Headers: map[string]string{}, Bytes: k.MarshalDER()}
	for i := 0; i < len(headers); i += 2 {
		b.Headers[headers[i]] = headers[i+1]
	}
	text := pem.EncodeToMemory(b)
	if text == nil {
		t.Fatal("bad headers")
	}
	return string(text)
}

// TestParse parses a key with all properties and a key with none.
func TestParse(t *testing.T) {
	a, b := newKey(t, 2048), newKey(t, 3072)
	full := block(t, a, "IMA-Key-Id", "deadbeef", "Name", "release: builds, Übung", "Not-Before", "2026-01-02T03:04:05Z", "Not-After", "2036-01-02T02:04:05Z")
	plain := block(t, b, "IMA-Key-Id", "01020304")
	a.ID, a.Name = digsig.KeyID{0xde, 0xad, 0xbe, 0xef}, "release: builds, Übung"
	a.NotBefore, a.NotAfter = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2036, 1, 2, 2, 4, 5, 0, time.UTC)
	b.ID = digsig.KeyID{1, 2, 3, 4}

	for _, text := range []string{full + plain, "\n\n \t" + full + "\n\n" + plain + " \n"} {
		s, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want := []Key{*a, *b}; !reflect.DeepEqual(s.Keys(), want) {
			t.Errorf("%+v, want %+v", s.Keys(), want)
		}
		for _, k := range []*Key{a, b} {
			if found, ok := s.Lookup(k.ID); !ok || !reflect.DeepEqual(found, k) {
				t.Errorf("Lookup(%v) = %v, %v", k.ID, found, ok)
			}
		}
		if k, ok := s.Lookup(digsig.KeyID{}); ok || k != nil {
			t.Error("Lookup finds a key that does not exist")
		}
	}
}

func TestParseRefuses(t *testing.T) {
	a, b := newKey(t, 2048), newKey(t, 3072)
	id := func(s string) []string { return []string{"IMA-Key-Id", s} }
	good := block(t, a, id("01020304")...)
	with := func(headers ...string) string { return block(t, a, append(id("01020304"), headers...)...) }

	for name, tt := range map[string]struct{ text, want string }{
		"nothing":            {"", "no keys"},
		"white space":        {" \n\t", "no keys"},
		"text before":        {"# keys\n" + good, "not alone"},
		"text behind":        {good + "x", "key 2: no PEM block"},
		"text on its end":    {strings.TrimSpace(good) + "x\n" + good, "not alone"},
		"text between":       {good + "x\n" + block(t, b, id("01020305")...), "not alone"},
		"no id":              {block(t, a), "missing"},
		"empty id":           {block(t, a, id("")...), "missing"},
		"upper-case id":      {block(t, a, id("0102030A")...), "key id"},
		"short id":           {block(t, a, id("010203")...), "key id"},
		"unknown header":     {with("Comment", "x"), `"Comment": unknown`},
		"header case":        {with("name", "x"), `"name": unknown`},
		"empty name":         {with("Name", ""), `"Name": empty`},
		"control in name":    {with("Name", "a\x1b[1m"), "plain text"},
		"long name":          {with("Name", strings.Repeat("x", 129)), "128 bytes"},
		"bad utf-8":          {with("Name", "\xff"), "plain text"},
		"bad time":           {with("Not-After", "2030-01-01"), "not a time"},
		"time with zone":     {with("Not-After", "2030-01-01T00:00:00+01:00"), "not a time"},
		"time fraction":      {with("Not-After", "2030-01-01T00:00:00.5Z"), "not a time"},
		"no such day":        {with("Not-After", "2030-02-30T00:00:00Z"), "not a time"},
		"zero time":          {with("Not-Before", "0001-01-01T00:00:00Z"), "not a time"},
		"ends too early":     {with("Not-Before", "2030-01-02T00:00:00Z", "Not-After", "2030-01-01T00:00:00Z"), "ends before"},
		"same id":            {good + block(t, b, id("01020304")...), "stands twice"},
		"same key":           {good + block(t, a, id("01020305")...), "the same key"},
		"same block":         {good + good, "stands twice"},
		"weak key":           {block(t, newKey(t, 1024), id("01020304")...), "1024 bits"},
		"doubled header":     {strings.Replace(good, "IMA-Key-Id", "IMA-Key-Id: 0a0b0c0d\nIMA-Key-Id", 1), "canonical"},
		"header order":       {strings.Replace(with("Name", "x"), "IMA-Key-Id: 01020304\nName: x", "Name: x\nIMA-Key-Id: 01020304", 1), "canonical"},
		"carriage return":    {strings.ReplaceAll(good, "\n", "\r\n"), "canonical"},
		"damaged block":      {strings.Replace(good, "MII", "M!I", 1), "damaged"},
		"damaged, then good": {strings.Replace(good, "MII", "M!I", 1) + good, "damaged"},
		"cut block":          {good[:len(good)-10], "damaged"},
		"certificate":        {strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"), `"CERTIFICATE"`},
		"private key":        {strings.ReplaceAll(good, "PUBLIC KEY", "PRIVATE KEY"), `"PRIVATE KEY"`},
		"too large":          {good + strings.Repeat("\n", MaxSize), "at most"},
	} {
		s, err := Parse([]byte(tt.text))
		if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "trust store: ") {
			t.Errorf("%s: error %v does not say %q", name, err, tt.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	early := *newKey(t, 2048)
	early.NotBefore, early.NotAfter = time.Unix(2, 0), time.Unix(1, 0)
	name := *newKey(t, 2048)
	name.Name = "two\nlines"
	twin := *newKey(t, 2048)
	twin.ID[0]++
	same := *newKey(t, 3072)
	same.ID = newKey(t, 2048).ID
	for i, keys := range [][]Key{{}, {{}}, {early}, {name}, {*newKey(t, 2048), twin}, {*newKey(t, 2048), same}} {
		if _, err := New(keys...); err == nil {
			t.Errorf("store %d is accepted", i)
		}
	}
}

// TestStoreIsItsOwn: a store does not change when its keys change outside.
func TestStoreIsItsOwn(t *testing.T) {
	given := []Key{*newKey(t, 2048)}
	s, err := New(given...)
	if err != nil {
		t.Fatal(err)
	}
	given[0].NotAfter = time.Now()
	s.Keys()[0].NotAfter = time.Now()
	found, _ := s.Lookup(given[0].ID)
	found.NotAfter = time.Now()
	if again, _ := s.Lookup(given[0].ID); !again.NotAfter.IsZero() || !s.Keys()[0].NotAfter.IsZero() {
		t.Error("a key in the store was changed")
	}
}

// FuzzParse: New accepts the keys of every store that Parse accepts.
func FuzzParse(f *testing.F) {
	text := block(f, newKey(f, 2048), "IMA-Key-Id", "01020304", "Name", "x", "Not-After", "2036-01-02T02:04:05Z")
	f.Add([]byte(text))
	f.Add([]byte(text[:len(text)-1]))
	f.Add([]byte(strings.Replace(text, "Name", "Nome", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := New(s.Keys()...); err != nil {
			t.Fatal(err)
		}
	})
}
