package signer

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// otherStore trusts the other key under an id.
func otherStore(t *testing.T, id ima.KeyID) *keys.TrustStore {
	t.Helper()
	pub, err := keys.NewPublicKey(otherKey().Public().(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	pub.ID = id
	store, err := keys.NewTrustStore(pub)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestReplaced: signatures by other keys are counted apart, whatever comes in their
// place, and named.
func TestReplaced(t *testing.T) {
	o := options(t)
	id := ima.KeyID{0xaa, 0xbb, 0xcc, 0xdd}
	ecdsa := append([]byte{3, 2, 4, 0xaa, 0xbb, 0xcc, 0xdd, 0, 70}, make([]byte, 70)...)
	v1 := append([]byte{3, 1, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 8, 0, 0x80}, make([]byte, 255)...)
	large := append([]byte{3, 2, 4, 0xaa, 0xbb, 0xcc, 0xdd, 2, 0}, make([]byte, 512)...)
	sum := sha256.Sum256([]byte("x"))
	tests := []struct {
		label []byte
		other string
		want  Outcome
	}{
		{nil, "", Signed},
		{value(t, otherKey(), id, "x"), "aabbccdd", Replaced},
		{ecdsa, "aabbccdd", Replaced},
		{large, "aabbccdd", Replaced},
		{v1, "0102030405060708", Replaced},
		{value(t, otherKey(), o.KeyID, "x"), "", Signed},
		{append([]byte{4, 4}, sum[:]...), "", Signed},
		{[]byte{3, 9, 9}, "", Signed},
	}
	for _, dry := range []bool{true, false} {
		tree := newFakeTree()
		for range tests {
			tree.add("x")
		}
		tree.add("hashed", "/hash")
		for i, test := range tests {
			tree.labels[uint64(i+1)] = test.label
		}
		tree.labels[uint64(len(tests)+1)] = ecdsa
		o.DryRun = dry
		o.Action = func(paths []string) Action {
			if paths[0] == "/hash" {
				return ActionHash
			}
			return ActionSign
		}
		rep := mustSign(t, tree, o)
		for i, test := range tests {
			if rec := rep.Records[i]; rec.Outcome != test.want || rec.Other != test.other {
				t.Errorf("%x: %v of %q, want %v of %q", test.label, rec.Outcome, rec.Other, test.want, test.other)
			}
		}
		if rep.Replaced != 5 || rep.Signed != 4 || rep.Hashed != 0 || rep.Files != rep.Replaced+rep.Signed {
			t.Errorf("%+v", rep)
		}
	}
}

// TestKeepValid: a signature that verifies under the store stays, by whatever hash; one
// that does not is replaced.
func TestKeepValid(t *testing.T) {
	o := options(t)
	id := ima.KeyID{0xaa, 0xbb, 0xcc, 0xdd}
	o.KeepValid = otherStore(t, id)
	sum := sha512.Sum512([]byte("x"))
	sig, err := rsa.SignPKCS1v15(nil, otherKey(), crypto.SHA512, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	longer, err := ima.SignatureV2(ima.SHA512, id, sig).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	labels := [][]byte{
		value(t, otherKey(), id, "x"),
		longer,
		value(t, otherKey(), id, "other contents"),
		value(t, otherKey(), ima.KeyID{1}, "x"),
		value(t, testKey(), id, "x"),
		value(t, testKey(), o.KeyID, "x"),
	}
	want := []Outcome{Kept, Kept, Replaced, Replaced, Replaced, Kept}
	tree := newFakeTree()
	for i, label := range labels {
		tree.add("x")
		tree.labels[uint64(i+1)] = label
	}
	tree.add("x", "/hash")
	tree.labels[uint64(len(labels)+1)] = labels[0]
	o.Action = func(paths []string) Action {
		if paths[0] == "/hash" {
			return ActionHash
		}
		return ActionSign
	}
	rep := mustSign(t, tree, o)
	right := value(t, testKey(), o.KeyID, "x")
	for i, want := range append(want, Kept) {
		label := right
		if want == Kept && i != 5 {
			label = append(labels, labels[0])[i]
		}
		if rec := rep.Records[i]; rec.Outcome != want || !bytes.Equal(rec.Value, label) || !bytes.Equal(tree.labels[uint64(i+1)], label) {
			t.Errorf("file %d: %v, want %v", i+1, rec.Outcome, want)
		}
		if s := sha256.Sum256([]byte("x")); !bytes.Equal(rep.Records[i].Digest, s[:]) {
			t.Errorf("file %d: digest %x", i+1, rep.Records[i].Digest)
		}
	}
	if rep.Kept != 4 || rep.Replaced != 3 {
		t.Errorf("%+v", rep)
	}
}
