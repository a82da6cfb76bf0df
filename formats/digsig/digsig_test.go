package digsig

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Signature{
		"030204010203040002aabb": {3, 2, SHA256, KeyID{1, 2, 3, 4}, []byte{0xaa, 0xbb}},
		"030304010203040002aabb": {3, 3, SHA256, KeyID{1, 2, 3, 4}, []byte{0xaa, 0xbb}},
		"060306010203040001ff":   {6, 3, SHA512, KeyID{1, 2, 3, 4}, []byte{0xff}},
	} {
		b, _ := hex.DecodeString(text)
		got, err := Parse(b)
		if err != nil || got.Type != want.Type || got.Version != want.Version || got.Hash != want.Hash || got.KeyID != want.KeyID || !bytes.Equal(got.Bytes, want.Bytes) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		b[len(b)-1] ^= 1
		if got.Bytes[len(got.Bytes)-1] == b[len(b)-1] {
			t.Errorf("%s: shares memory", text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		text, want string
		version    bool
	}{
		"empty":           {"", "0 bytes", false},
		"no signature":    {"030204010203040000", "9 bytes", false},
		"short length":    {"030204010203040001aabb", "length is 1, but 2", false},
		"long length":     {"030204010203040003aabb", "length is 3, but 2", false},
		"version 1":       {"030104010203040002aabb", "version 1 (SHA-1)", true},
		"version 4":       {"030404010203040002aabb", "type 3, version 4", true},
		"verity, 2":       {"060204010203040002aabb", "type 6, version 2", true},
		"digest":          {"0404aabbccddeeff00112233", "type 4", true},
		"portable digsig": {"050204010203040002aabb", "type 5", true},
	} {
		b, err := hex.DecodeString(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrVersion) != tt.version {
			t.Errorf("%s: error %v does not say %q", name, err, tt.want)
		}
	}
}

// TestCrypto: signatures may use three hashes only, with the sizes of their names.
func TestCrypto(t *testing.T) {
	want := map[Hash]crypto.Hash{SHA256: crypto.SHA256, SHA384: crypto.SHA384, SHA512: crypto.SHA512}
	for h := range 256 {
		if got := Hash(h).Crypto(); got != want[Hash(h)] {
			t.Errorf("hash %d is %v", h, got)
		}
	}
}

// TestFileID: the signed bytes are type, hash and digest for every type. A digest of another length
// is returned unchanged.
func TestFileID(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 32)
	for _, kind := range []byte{TypeSignature, TypeVerity} {
		want := sha256.Sum256(append([]byte{kind, 4}, digest...))
		if got := (&Signature{Type: kind, Version: 3, Hash: SHA256}).FileID(digest); !bytes.Equal(got, want[:]) {
			t.Errorf("type %d: %x, want %x", kind, got, want)
		}
	}
	for _, s := range []Signature{{Hash: SHA512}, {Hash: 2}, {Hash: 255}} {
		if got := s.FileID(digest); !bytes.Equal(got, digest) {
			t.Errorf("hash %d: %x", s.Hash, got)
		}
	}
}

// FuzzParse writes each parsed value again: every signature has exactly one form.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\x03\x02\x04\x01\x02\x03\x04\x00\x02\xaa\xbb"))
	f.Add([]byte("\x06\x03\x04\x01\x02\x03\x04\x00\x01\xaa"))
	f.Add([]byte("\x03\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		n := len(s.Bytes)
		again := append([]byte{s.Type, s.Version, byte(s.Hash)}, s.KeyID[:]...)
		again = append(append(again, byte(n>>8), byte(n)), s.Bytes...)
		if !bytes.Equal(again, b) {
			t.Errorf("%x was read as %+v", b, s)
		}
		if id, err := ParseKeyID(s.KeyID.String()); err != nil || id != s.KeyID {
			t.Errorf("key id %v is read as %v, %v", s.KeyID, id, err)
		}
	})
}
