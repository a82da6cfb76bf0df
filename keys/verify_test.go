package keys

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

var contents = []byte("contents of a file\n")

func digestOf(h ima.HashID, data []byte) []byte {
	d := h.CryptoHash().New()
	d.Write(data)
	return d.Sum(nil)
}

func newKey(t testing.TB, bits int) *PublicKey {
	t.Helper()
	k, err := NewPublicKey(&testkit.Key(t, bits).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newStore(t testing.TB, keys ...*PublicKey) *TrustStore {
	t.Helper()
	s, err := NewTrustStore(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns a version 2 value over contents.
func sign(t testing.TB, bits int, hash ima.HashID) ima.Value {
	t.Helper()
	key := testkit.Key(t, bits)
	sig, err := rsa.SignPKCS1v15(nil, key, hash.CryptoHash(), digestOf(hash, contents))
	if err != nil {
		t.Fatal(err)
	}
	return ima.SignatureV2(hash, newKey(t, bits).ID, sig)
}

func TestVerify(t *testing.T) {
	store := newStore(t, newKey(t, 2048), newKey(t, 3072))
	for _, bits := range []int{2048, 3072} {
		for _, hash := range []ima.HashID{ima.SHA256, ima.SHA384, ima.SHA512} {
			k, err := store.Verify(sign(t, bits, hash), digestOf(hash, contents))
			if err != nil || k.RSA.N.BitLen() != bits {
				t.Errorf("%d bits, %v: %v, %v", bits, hash, k, err)
			}
		}
	}
}

// TestVerifyVersion3 signs what the kernel verifies: the digest of ima_file_id.
func TestVerifyVersion3(t *testing.T) {
	verity := digestOf(ima.SHA256, []byte("stands for an fs-verity digest"))
	id, err := ima.FileID(ima.SHA256, verity)
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(ima.SHA256, id)
	key := newKey(t, 2048)
	sig, err := rsa.SignPKCS1v15(nil, testkit.Key(t, 2048), crypto.SHA256, digest)
	if err != nil {
		t.Fatal(err)
	}
	v := ima.Value{Type: ima.VeritySignature, Version: 3, Hash: ima.SHA256, KeyID: key.ID, Signature: sig}
	store := newStore(t, key)
	if _, err := store.Verify(v, digest); err != nil {
		t.Error(err)
	}
	if _, err := store.Verify(v, verity); !errors.Is(err, ErrBadSignature) {
		t.Errorf("the bare fs-verity digest: %v", err)
	}
}

// TestVerifyRefuses changes one thing in a good value.
func TestVerifyRefuses(t *testing.T) {
	good := sign(t, 2048, ima.SHA256)
	digest := digestOf(ima.SHA256, contents)
	flip := func(b []byte, bit int) []byte {
		b = bytes.Clone(b)
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
	store := newStore(t, newKey(t, 2048), newKey(t, 3072))
	other := newKey(t, 3072).ID

	for name, tt := range map[string]struct {
		change func(v *ima.Value)
		digest []byte
		want   error
	}{
		"content":            {nil, digestOf(ima.SHA256, contents[1:]), ErrBadSignature},
		"digest bit":         {nil, flip(digest, 100), ErrBadSignature},
		"digest short":       {nil, digest[:31], ErrDigestSize},
		"digest long":        {nil, append(bytes.Clone(digest), 0), ErrDigestSize},
		"no digest":          {nil, nil, ErrDigestSize},
		"first byte":         {func(v *ima.Value) { v.Signature = flip(v.Signature, 0) }, digest, ErrBadSignature},
		"last byte":          {func(v *ima.Value) { v.Signature = flip(v.Signature, 2047) }, digest, ErrBadSignature},
		"signature short":    {func(v *ima.Value) { v.Signature = v.Signature[1:] }, digest, ErrSignatureSize},
		"signature long":     {func(v *ima.Value) { v.Signature = append([]byte{0}, v.Signature...) }, digest, ErrSignatureSize},
		"signature empty":    {func(v *ima.Value) { v.Signature = nil }, digest, ErrSignatureSize},
		"signature zero":     {func(v *ima.Value) { v.Signature = make([]byte, 256) }, digest, ErrBadSignature},
		"signature all ones": {func(v *ima.Value) { v.Signature = bytes.Repeat([]byte{255}, 256) }, digest, ErrBadSignature},
		"key id":             {func(v *ima.Value) { v.KeyID[3] ^= 1 }, digest, ErrUnknownKey},
		"other key":          {func(v *ima.Value) { v.KeyID = other }, digest, ErrSignatureSize},
		"hash of other size": {func(v *ima.Value) { v.Hash = ima.SHA512 }, digest, ErrDigestSize},
		"hash of same size":  {func(v *ima.Value) { v.Hash = ima.SHA3_256 }, digest, ErrHash},
		"hash sm3":           {func(v *ima.Value) { v.Hash = ima.SM3 }, digest, ErrHash},
		"hash unknown":       {func(v *ima.Value) { v.Hash = 200 }, digest, ErrHash},
		"version 1":          {func(v *ima.Value) { v.Version = 1 }, digest, ErrNotSignature},
		"version 3":          {func(v *ima.Value) { v.Version = 3 }, digest, ErrNotSignature},
		"type digest":        {func(v *ima.Value) { *v = ima.DigestValue(ima.SHA256, digest) }, digest, ErrNotSignature},
		"type evm":           {func(v *ima.Value) { v.Type = ima.EVMPortable }, digest, ErrNotSignature},
		"zero value":         {func(v *ima.Value) { *v = ima.Value{} }, digest, ErrNotSignature},
	} {
		v := good
		if tt.change != nil {
			tt.change(&v)
		}
		k, err := store.Verify(v, tt.digest)
		if k != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, k, err, tt.want)
		}
	}
	if _, err := store.Verify(good, digest); err != nil {
		t.Errorf("the unchanged value: %v", err)
	}
}

// TestVerifySHA1: an otherwise good signature over SHA-1 is refused.
func TestVerifySHA1(t *testing.T) {
	for _, hash := range []ima.HashID{ima.SHA1, ima.SHA224} {
		v := sign(t, 2048, hash)
		if _, err := newStore(t, newKey(t, 2048)).Verify(v, digestOf(hash, contents)); !errors.Is(err, ErrHash) {
			t.Errorf("%v: %v, want ErrHash", hash, err)
		}
	}
}

func TestVerifyValidity(t *testing.T) {
	k := newKey(t, 2048)
	k.NotAfter = time.Now().Add(-time.Minute).Truncate(time.Second)
	if _, err := newStore(t, k).Verify(sign(t, 2048, ima.SHA256), digestOf(ima.SHA256, contents)); !errors.Is(err, ErrNotValid) {
		t.Errorf("an expired key: %v", err)
	}
}

// TestVerifyV1 builds version 1 values after the kernel's code. The tests of keys/private show that
// evmctl builds the same.
func TestVerifyV1(t *testing.T) {
	k, digest := newKey(t, 2048), digestOf(ima.SHA256, contents)
	v := ima.Value{Type: ima.Signature, Version: 1, Hash: ima.SHA256, Timestamp: 7, KeyIDV1: IDV1(k), MPIBits: 2048, Signature: make([]byte, 256)}
	header, err := v.SignedHeader()
	if err != nil {
		t.Fatal(err)
	}
	sum := digestOf(ima.SHA1, append(bytes.Clone(digest), header...))
	if v.Signature, err = rsa.SignPKCS1v15(nil, testkit.Key(t, 2048), 0, sum); err != nil {
		t.Fatal(err)
	}
	if err := VerifyV1(k, v, digest); err != nil {
		t.Error(err)
	}
	if _, err := newStore(t, k).Verify(v, digest); !errors.Is(err, ErrNotSignature) {
		t.Errorf("Verify accepts version 1: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(v *ima.Value)
		want   error
	}{
		"time":      {func(v *ima.Value) { v.Timestamp++ }, ErrBadSignature},
		"key id":    {func(v *ima.Value) { v.KeyIDV1[0] ^= 1 }, ErrUnknownKey},
		"hash":      {func(v *ima.Value) { v.Hash = ima.SHA1 }, ErrDigestSize},
		"length":    {func(v *ima.Value) { v.Signature, v.MPIBits = v.Signature[1:], 2040 }, ErrSignatureSize},
		"version 2": {func(v *ima.Value) { *v = ima.SignatureV2(ima.SHA256, k.ID, v.Signature) }, ErrNotSignature},
		"invalid":   {func(v *ima.Value) { v.MPIBits = 1 }, ErrNotSignature},
	} {
		bad := v
		tt.change(&bad)
		if err := VerifyV1(k, bad, digest); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := VerifyV1(k, v, digestOf(ima.SHA256, contents[1:])); !errors.Is(err, ErrBadSignature) {
		t.Errorf("other contents: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, bits := range []int{2048, 4096} {
		b.Run(map[int]string{2048: "RSA-2048", 4096: "RSA-4096"}[bits], func(b *testing.B) {
			store := newStore(b, newKey(b, bits))
			v, digest := sign(b, bits, ima.SHA256), digestOf(ima.SHA256, contents)
			for b.Loop() {
				if _, err := store.Verify(v, digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
