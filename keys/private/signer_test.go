package private

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/keys/internal/testkit"
)

func wrap(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	s, err := newSigner(testkit.Key(t, bits))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSign compares signatures with those of crypto/rsa, with and without a source of randomness.
func TestSign(t *testing.T) {
	s := wrap(t, 2048)
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		digest := bytes.Repeat([]byte{9}, hash.Size())
		want, err := rsa.SignPKCS1v15(nil, testkit.Key(t, 2048), hash, digest)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := s.Sign(nil, digest, hash); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: %v", hash, err)
			}
			if got, err := s.Sign(rand.Reader, digest, hash); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v with randomness: %v", hash, err)
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	s := wrap(t, 2048)
	d := make([]byte, 64)
	for name, tt := range map[string]struct {
		digest []byte
		opts   crypto.SignerOpts
	}{
		"no digest":    {nil, crypto.SHA256},
		"short":        {d[:31], crypto.SHA256},
		"long":         {d[:33], crypto.SHA256},
		"other size":   {d[:32], crypto.SHA512},
		"SHA-1":        {d[:20], crypto.SHA1},
		"SHA-224":      {d[:28], crypto.SHA224},
		"SHA3-256":     {d[:32], crypto.SHA3_256},
		"no hash":      {d[:32], crypto.Hash(0)},
		"PSS":          {d[:32], &rsa.PSSOptions{Hash: crypto.SHA256}},
		"nil":          {d[:32], nil},
		"unknown hash": {d[:32], crypto.Hash(99)},
	} {
		if sig, err := s.Sign(nil, tt.digest, tt.opts); err == nil {
			t.Errorf("%s: signed: %x", name, sig)
		}
	}
}

// TestSignConcurrently is for the race detector, and verifies every signature.
func TestSignConcurrently(t *testing.T) {
	s := wrap(t, 2048)
	pub := s.Public().(*rsa.PublicKey)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				digest := bytes.Repeat([]byte{byte(10*i + j)}, 32)
				sig, err := s.Sign(nil, digest, crypto.SHA256)
				if err == nil {
					err = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSign(b *testing.B) {
	digest := make([]byte, 32)
	for _, bits := range []int{2048, 3072, 4096} {
		s, plain := wrap(b, bits), testkit.Key(b, bits)
		b.Run(fmt.Sprintf("RSA-%d", bits), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Sign(nil, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
		// The difference is the cost of the wrapper.
		b.Run(fmt.Sprintf("RSA-%d bare", bits), func(b *testing.B) {
			for b.Loop() {
				if _, err := rsa.SignPKCS1v15(nil, plain, crypto.SHA256, digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
