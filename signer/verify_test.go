package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// verify gives the findings by the first path of the file, and their order.
func verify(t *testing.T, tree Tree, store *keys.TrustStore, o VerifyOptions) (map[string]*Finding, []string, *VerifyReport) {
	t.Helper()
	found := map[string]*Finding{}
	var order []string
	o.Result = func(f *Finding) error {
		found[f.File.Name()] = f
		order = append(order, f.File.Name())
		return nil
	}
	rep, err := Verify(t.Context(), tree, store, o)
	if err != nil {
		t.Fatal(err)
	}
	return found, order, rep
}

// Contents are digested whatever the label is like, and with no trusted key at all.
func TestVerifyContents(t *testing.T) {
	id := publicKey(t, testKey()).ID
	sum, other := sha256.Sum256([]byte("c")), sha512.Sum512([]byte("c"))
	for name, label := range map[string][]byte{
		"signature": value(t, testKey(), id, "c"), "none": nil, "no label": {1, 2, 3},
		"same digest": append([]byte{4, 4}, sum[:]...), "other digest": append([]byte{4, 6}, other[:]...),
	} {
		tree := newFakeTree("c")
		tree.labels[1] = label
		for _, store := range []*keys.TrustStore{nil, trust(t, testKey())} {
			found, _, rep := verify(t, tree, store, VerifyOptions{Contents: crypto.SHA256})
			f := found["/f1"]
			if !bytes.Equal(f.Contents, sum[:]) || rep.Bytes != 1 {
				t.Errorf("%s: digest %x of %d bytes", name, f.Contents, rep.Bytes)
			}
			if name == "signature" && (f.Verdict == Valid) != (store != nil) {
				t.Errorf("%s, trusted: %v: verdict %v", name, store != nil, f.Verdict)
			}
			if strings.HasSuffix(name, "digest") && f.Verdict != DigestOnly {
				t.Errorf("%s: verdict %v", name, f.Verdict)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	id := publicKey(t, testKey()).ID
	right := func(content string) []byte { return value(t, testKey(), id, content) }
	change := func(v []byte, i int, b byte) []byte {
		v = bytes.Clone(v)
		v[i] = b
		return v
	}
	sum1, sum256, sum512 := sha1.Sum([]byte("c")), sha256.Sum256([]byte("c")), sha512.Sum512([]byte("c"))
	sumMD5 := md5.Sum([]byte("c"))
	v1 := append([]byte{3, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 8, 0}, right("c")[9:]...)

	tests := []struct {
		name    string
		label   []byte
		verdict Verdict
		reason  Reason
	}{
		{"valid", right("c"), Valid, ""},
		{"unsigned", nil, Unsigned, ""},
		{"sha1 digest", append([]byte{1}, sum1[:]...), DigestOnly, ""},
		{"sha256 digest", append([]byte{4, 4}, sum256[:]...), DigestOnly, ""},
		{"sha512 digest", append([]byte{4, 6}, sum512[:]...), DigestOnly, ""},
		{"other digest", append([]byte{4, 4}, sum512[:32]...), Invalid, ReasonDigest},
		{"md5 digest", append([]byte{1}, sumMD5[:]...), DigestOnly, ""},
		{"ripemd digest", append([]byte{4, 3}, sum1[:]...), Invalid, ReasonHash},
		{"other content", right("d"), Invalid, ReasonContent},
		{"damaged signature", change(right("c"), 60, right("c")[60]^1), Invalid, ReasonSignature},
		{"signature not below the modulus", append(right("c")[:9:9], bytes.Repeat([]byte{255}, 256)...), Invalid, ReasonSignature},
		{"signature too short for the key", append([]byte{3, 2, 4, id[0], id[1], id[2], id[3], 0, 1}, 7), Invalid, ReasonSignature},
		{"other key, same id", value(t, otherKey(), id, "c"), Invalid, ReasonSignature},
		{"key id", change(right("c"), 3, id[0]^1), Invalid, ReasonUnknownKey},
		{"hash id", change(right("c"), 2, byte(ima.SHA512)), Invalid, ReasonHashID},
		{"weak hash", change(right("c"), 2, byte(ima.SHA1)), Invalid, ReasonHash},
		{"version 1", v1, Invalid, ReasonVersion1},
		{"fs-verity", change(change(right("c"), 0, 6), 1, 3), Invalid, ReasonVerity},
		{"cut", right("c")[:200], Invalid, ReasonMalformed},
		{"empty", []byte{}, Invalid, ReasonMalformed},
		{"evm", change(right("c"), 0, 5), Invalid, ReasonMalformed},
	}
	tree := newFakeTree()
	for i, tt := range tests {
		tree.add("c", "/"+tt.name)
		if tt.label != nil {
			tree.labels[uint64(i+1)] = tt.label
		}
	}
	found, order, rep := verify(t, tree, trust(t, testKey()), VerifyOptions{Jobs: 3})
	for _, tt := range tests {
		f := found["/"+tt.name]
		if f.Verdict != tt.verdict || f.Reason != tt.reason {
			t.Errorf("%s: %v %q (%v), want %v %q", tt.name, f.Verdict, f.Reason, f.Err, tt.verdict, tt.reason)
		}
		if (f.Err != nil) != (tt.verdict == Invalid) {
			t.Errorf("%s: error %v", tt.name, f.Err)
		}
		if f.OK() != (tt.verdict == Valid) {
			t.Errorf("%s: OK is %v", tt.name, f.OK())
		}
	}
	if rep.Files != 21 || rep.Valid != 1 || rep.Unsigned != 1 || rep.DigestOnly != 4 || rep.Invalid != 15 || rep.Bad != 20 || rep.OK() {
		t.Errorf("%+v", rep)
	}
	// What was signed for other contents comes last, the rest in order.
	var want []string
	for _, tt := range tests {
		if tt.reason != ReasonContent {
			want = append(want, "/"+tt.name)
		}
	}
	if want = append(want, "/other content"); !slices.Equal(order, want) {
		t.Errorf("order %q", order)
	}
	if f := found["/other content"]; !bytes.Equal(f.Signed, sha256sum("d")) || !bytes.Equal(f.Digest, sha256sum("c")) {
		t.Errorf("signed %x, contents %x", f.Signed, f.Digest)
	}
	if f := found["/valid"]; f.Key == nil || f.Key.ID != id || f.KeyID != id || f.Hash != ima.SHA256 {
		t.Errorf("valid: %+v", f)
	}
}

func sha256sum(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func TestSwappedLabels(t *testing.T) {
	tree := newFakeTree("a", "b", "c")
	mustSign(t, tree, options(t))
	tree.labels[1], tree.labels[3] = tree.labels[3], tree.labels[1]
	found, _, rep := verify(t, tree, trust(t, testKey()), VerifyOptions{})
	for path, twin := range map[string]string{"/f1": "/f3", "/f3": "/f1"} {
		if f := found[path]; f.Reason != ReasonOtherFile || f.Twin == nil || f.Twin.Name() != twin {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if rep.Valid != 1 || rep.Invalid != 2 {
		t.Errorf("%+v", rep)
	}
}

func TestHashesAndKeySizes(t *testing.T) {
	big := mustKey(3072)
	tree := newFakeTree("a", "b")
	for _, key := range []*rsa.PrivateKey{testKey(), big} {
		for _, hash := range []ima.HashID{ima.SHA256, ima.SHA384, ima.SHA512} {
			rep := mustSign(t, tree, Options{Key: key, KeyID: publicKey(t, key).ID, Hash: hash})
			if rep.Signed+rep.Replaced != 2 {
				t.Errorf("%v: %+v", hash, rep)
			}
			if _, _, rep := verify(t, tree, trust(t, testKey(), big), VerifyOptions{}); rep.Valid != 2 {
				t.Errorf("%v: %+v", hash, rep)
			}
		}
	}
}

func TestVerifyActions(t *testing.T) {
	tree := newFakeTree()
	tree.add("1", "/hash/digest")
	tree.add("2", "/hash/signed")
	tree.add("3", "/hash/none")
	tree.add("4", "/skip")
	tree.labels[1] = append([]byte{4, 4}, sha256sum("1")...)
	tree.labels[2] = value(t, testKey(), publicKey(t, testKey()).ID, "2")
	tree.openErr[4] = errDisk // must not be read
	found, _, rep := verify(t, tree, trust(t, testKey()), VerifyOptions{Action: func(p []string) Action {
		if p[0] == "/skip" {
			return ActionSkip
		}
		return ActionHash
	}})
	for path, ok := range map[string]bool{"/hash/digest": true, "/hash/signed": true, "/hash/none": false, "/skip": true} {
		if found[path].OK() != ok {
			t.Errorf("%s: %+v", path, found[path])
		}
	}
	if rep.Ignored != 1 || rep.Bad != 1 {
		t.Errorf("%+v", rep)
	}
}

func TestExpiredKey(t *testing.T) {
	tree := newFakeTree("a")
	mustSign(t, tree, options(t))
	pub := publicKey(t, testKey())
	pub.NotAfter = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	store, err := keys.NewTrustStore(pub)
	if err != nil {
		t.Fatal(err)
	}
	found, _, _ := verify(t, tree, store, VerifyOptions{})
	if f := found["/f1"]; f.Reason != ReasonKeyExpired {
		t.Errorf("%+v", f)
	}
}

// failingTree fails behind the last byte of one file.
type failingTree struct{ *fakeTree }

func (t failingTree) Open(f *File) (io.ReadCloser, error) {
	r, err := t.fakeTree.Open(f)
	if err != nil || f.Inode != 2 {
		return r, err
	}
	return io.NopCloser(io.MultiReader(r, iotest.ErrReader(errDisk))), nil
}

func TestVerifyUnreadable(t *testing.T) {
	tree := newFakeTree("a", "b", "c")
	mustSign(t, tree, options(t))
	bad := failingTree{tree}
	if _, err := Verify(t.Context(), bad, trust(t, testKey()), VerifyOptions{}); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "/f2") {
		t.Errorf("not keeping going: %v", err)
	}
	found, _, rep := verify(t, bad, trust(t, testKey()), VerifyOptions{KeepGoing: true})
	if f := found["/f2"]; f.Verdict != Unreadable || !errors.Is(f.Err, errDisk) || rep.Valid != 2 || rep.Unreadable != 1 {
		t.Errorf("%+v, %+v", f, rep)
	}
}

func TestVerifyCancelAndResultError(t *testing.T) {
	tree := newFakeTree("a", "b", "c")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, tree, trust(t, testKey()), VerifyOptions{KeepGoing: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stop := func(*Finding) error { return errDisk }
	if _, err := Verify(t.Context(), tree, trust(t, testKey()), VerifyOptions{Result: stop}); !errors.Is(err, errDisk) {
		t.Errorf("result: %v", err)
	}
}

// A reader that gives nothing must not hang the run.
type idleTree struct{ *fakeTree }

func (t idleTree) Open(*File) (io.ReadCloser, error) { return io.NopCloser(idle{}), nil }

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestIdleReader(t *testing.T) {
	if _, err := Sign(t.Context(), idleTree{newFakeTree("a")}, options(t)); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

func TestSignedDigestNeedsFullEncoding(t *testing.T) {
	// A signature without DigestInfo ends in the digest, but is not what it seems.
	sig, err := rsa.SignPKCS1v15(nil, testKey(), crypto.Hash(0), sha256sum("d"))
	if err != nil {
		t.Fatal(err)
	}
	tree := newFakeTree("c")
	id := publicKey(t, testKey()).ID
	label, err := ima.SignatureV2(ima.SHA256, id, sig).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	tree.labels[1] = label
	found, _, _ := verify(t, tree, trust(t, testKey()), VerifyOptions{})
	if f := found["/f1"]; f.Reason != ReasonSignature {
		t.Errorf("%+v", f)
	}
}
