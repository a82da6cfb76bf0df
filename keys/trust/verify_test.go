package trust

import (
	"bytes"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

func newStore(t testing.TB, keys ...Key) *Store {
	t.Helper()
	s, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns a signature of version 2 and the signed digest.
func sign(t testing.TB, bits int, hash digsig.Hash) (digsig.Signature, []byte) {
	t.Helper()
	h := hash.Crypto().New()
	h.Write([]byte("contents of a file\n"))
	digest := h.Sum(nil)
	sig, err := rsa.SignPKCS1v15(nil, testkit.Key(t, bits), hash.Crypto(), digest)
	if err != nil {
		t.Fatal(err)
	}
	return digsig.Signature{Version: 2, Hash: hash, KeyID: newKey(t, bits).ID, Bytes: sig}, digest
}

func TestVerify(t *testing.T) {
	store := newStore(t, *newKey(t, 2048), *newKey(t, 3072))
	for _, bits := range []int{2048, 3072} {
		for _, hash := range []digsig.Hash{digsig.SHA256, digsig.SHA384, digsig.SHA512} {
			s, digest := sign(t, bits, hash)
			if k, err := store.Verify(s, digest); err != nil || k.RSA.N.BitLen() != bits {
				t.Errorf("%d bits, hash %d: %v, %v", bits, hash, k, err)
			}
		}
	}
}

// TestVerifyRefuses changes one thing in a good signature.
func TestVerifyRefuses(t *testing.T) {
	good, digest := sign(t, 2048, digsig.SHA256)
	flip := func(b []byte, bit int) []byte {
		b = bytes.Clone(b)
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
	store := newStore(t, *newKey(t, 2048), *newKey(t, 3072))
	for name, tt := range map[string]struct {
		change func(s *digsig.Signature)
		digest []byte
		want   error
	}{
		"digest":             {nil, flip(digest, 100), ErrBadSignature},
		"digest short":       {nil, digest[:31], ErrDigestSize},
		"digest long":        {nil, append(bytes.Clone(digest), 0), ErrDigestSize},
		"no digest":          {nil, nil, ErrDigestSize},
		"first byte":         {func(s *digsig.Signature) { s.Bytes = flip(s.Bytes, 0) }, digest, ErrBadSignature},
		"last byte":          {func(s *digsig.Signature) { s.Bytes = flip(s.Bytes, 2047) }, digest, ErrBadSignature},
		"signature short":    {func(s *digsig.Signature) { s.Bytes = s.Bytes[1:] }, digest, ErrSignatureSize},
		"signature long":     {func(s *digsig.Signature) { s.Bytes = append([]byte{0}, s.Bytes...) }, digest, ErrSignatureSize},
		"no signature":       {func(s *digsig.Signature) { s.Bytes = nil }, digest, ErrSignatureSize},
		"signature zero":     {func(s *digsig.Signature) { s.Bytes = make([]byte, 256) }, digest, ErrBadSignature},
		"signature all ones": {func(s *digsig.Signature) { s.Bytes = bytes.Repeat([]byte{255}, 256) }, digest, ErrBadSignature},
		"key id":             {func(s *digsig.Signature) { s.KeyID[0] ^= 1 }, digest, ErrUnknownKey},
		"other key":          {func(s *digsig.Signature) { s.KeyID = newKey(t, 3072).ID }, digest, ErrSignatureSize},
		"hash of other size": {func(s *digsig.Signature) { s.Hash = digsig.SHA512 }, digest, ErrDigestSize},
		"hash of same size":  {func(s *digsig.Signature) { s.Hash = 20 }, digest, ErrHash}, // SHA3-256
		"SHA-1":              {func(s *digsig.Signature) { s.Hash = 2 }, digest[:20], ErrHash},
		"hash unknown":       {func(s *digsig.Signature) { s.Hash = 200 }, digest, ErrHash},
	} {
		s := good
		if tt.change != nil {
			tt.change(&s)
		}
		if k, err := store.Verify(s, tt.digest); k != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, k, err, tt.want)
		}
	}
	if _, err := store.Verify(good, digest); err != nil {
		t.Errorf("the unchanged signature: %v", err)
	}
}

// TestVerifyValidity: Verify checks the validity by the clock.
func TestVerifyValidity(t *testing.T) {
	s, digest := sign(t, 2048, digsig.SHA256)
	expired, early := *newKey(t, 2048), *newKey(t, 2048)
	expired.NotAfter = time.Now().Add(-time.Hour)
	early.NotBefore = time.Now().Add(time.Hour)
	for _, k := range []Key{expired, early} {
		if found, err := newStore(t, k).Verify(s, digest); found != nil || !errors.Is(err, ErrNotValid) {
			t.Errorf("%v, %v", found, err)
		}
	}
	within := *newKey(t, 2048)
	within.NotBefore, within.NotAfter = expired.NotAfter, early.NotBefore
	if _, err := newStore(t, within).Verify(s, digest); err != nil {
		t.Error(err)
	}
}
