package private

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

var contents = []byte("contents of a file\n")

func digestOf(h ima.HashID, data []byte) []byte {
	d := h.CryptoHash().New()
	d.Write(data)
	return d.Sum(nil)
}

// workshop is a directory with private.pem, cert.pem, cert.der, public.pem, and a file to sign, and
// a trust store with the key.
type workshop struct {
	dir    string
	signer crypto.Signer
	pub    *keys.PublicKey
	store  *keys.TrustStore
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

func newWorkshop(t *testing.T, bits int) workshop {
	t.Helper()
	w := workshop{dir: filepath.Join(t.TempDir(), "key")}
	pub, err := Generate(w.dir, GenerateOptions{Bits: bits})
	if err != nil {
		t.Fatal(err)
	}
	w.pub = pub
	if w.signer, err = Open(context.Background(), w.path(PrivateFile), Options{}); err != nil {
		t.Fatal(err)
	}
	if w.store, err = certs.LoadTrust(t.Context(), w.path(CertificateFile)); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, w.path("file"), contents)
	return w
}

// sign returns the bytes of a version 2 value for the file.
func (w workshop) sign(t *testing.T, hash ima.HashID) []byte {
	t.Helper()
	sig, err := w.signer.Sign(rand.Reader, digestOf(hash, contents), hash.CryptoHash())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ima.SignatureV2(hash, w.pub.ID, sig).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestValuesAreEvmctls: for each key size and hash, our value is equal to evmctl's byte for byte,
// evmctl verifies our value, and we verify evmctl's.
func TestValuesAreEvmctls(t *testing.T) {
	testkit.Tool(t, "evmctl", "openssl")
	for _, bits := range []int{2048, 3072, 4096} {
		w := newWorkshop(t, bits)
		testkit.Run(t, w.dir, "openssl", "x509", "-in", CertificateFile, "-outform", "DER", "-out", "cert.der")
		for _, hash := range []ima.HashID{ima.SHA256, ima.SHA384, ima.SHA512} {
			t.Run(fmt.Sprintf("RSA-%d %v", bits, hash), func(t *testing.T) {
				ours := w.sign(t, hash)

				// With the bare key, and with the certificate's SKID.
				for _, args := range [][]string{{"-n"}, {"-n", "--keyid-from-cert", "cert.der"}} {
					args = append([]string{"ima_sign", "-a", hash.String(), "--key", PrivateFile}, append(args, "file")...)
					if theirs := testkit.Hex(t, testkit.Run(t, w.dir, "evmctl", args...)); !bytes.Equal(ours, theirs) {
						t.Fatalf("%v gives\n%x, ours is\n%x", args, theirs, ours)
					}
				}
				// By digest. Unlike --sigfile, which also sets the attribute, this needs no
				// privilege.
				testkit.Write(t, w.path("line"), fmt.Appendf(nil, "%x file\n", digestOf(hash, contents)))
				line := bytes.Fields(testkit.Run(t, w.dir, "sh", "-c", "evmctl sign_hash -a "+hash.String()+" --key "+PrivateFile+" <line"))
				if len(line) != 3 {
					t.Fatalf("evmctl prints %q", line)
				}
				theirs := testkit.Hex(t, line[2])
				if !bytes.Equal(ours, theirs) {
					t.Fatalf("sign_hash gives\n%x, ours is\n%x", theirs, ours)
				}

				// We verify evmctl's value.
				v, err := ima.Parse(theirs)
				if err != nil {
					t.Fatal(err)
				}
				if k, err := w.store.Verify(v, digestOf(hash, contents)); err != nil || k.ID != w.pub.ID {
					t.Errorf("evmctl's value: %v, %v", k, err)
				}

				// evmctl verifies our value, and not for other contents.
				testkit.Write(t, w.path("file.sig"), ours)
				testkit.Run(t, w.dir, "evmctl", "ima_verify", "--sigfile", "--key", "cert.der", "file")
				testkit.Write(t, w.path("other"), []byte("other contents\n"))
				testkit.Write(t, w.path("other.sig"), ours)
				if out, _, err := testkit.Try(w.dir, "evmctl", "ima_verify", "--sigfile", "--key", "cert.der", "other"); err == nil {
					t.Errorf("evmctl verifies a value of another file: %s", out)
				}
			})
		}
	}
}

// TestTamperedBytes flips a bit in every byte of a value: parsing or verification must fail.
func TestTamperedBytes(t *testing.T) {
	w := newWorkshop(t, 2048)
	good, digest := w.sign(t, ima.SHA256), digestOf(ima.SHA256, contents)
	verify := func(raw []byte) error {
		v, err := ima.Parse(raw)
		if err != nil {
			return err
		}
		_, err = w.store.Verify(v, digest)
		return err
	}
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		err := verify(bad)
		if err == nil {
			t.Fatalf("byte %d: verifies", i)
		}
		switch {
		case i >= 3 && i < 7 && !errors.Is(err, keys.ErrUnknownKey):
			t.Errorf("key id byte %d: %v", i, err)
		case i >= 9 && !errors.Is(err, keys.ErrBadSignature):
			t.Errorf("signature byte %d: %v", i, err)
		}
	}
	for i := range good {
		if err := verify(good[:i]); err == nil {
			t.Fatalf("cut to %d bytes: verifies", i)
		}
	}
	if err := verify(append(bytes.Clone(good), 0)); err == nil {
		t.Error("with an additional byte: verifies")
	}
}

func TestVersion1IsEvmctls(t *testing.T) {
	testkit.Tool(t, "evmctl")
	for _, bits := range []int{2048, 3072} {
		w := newWorkshop(t, bits)
		for _, hash := range []ima.HashID{ima.SHA1, ima.SHA256} {
			out := testkit.Run(t, w.dir, "evmctl", "ima_sign", "-n", "--rsa", "-a", hash.String(), "--key", PrivateFile, "file")
			v, err := ima.Parse(testkit.Hex(t, out))
			if err != nil {
				t.Fatal(err)
			}
			if err := keys.VerifyV1(w.pub, v, digestOf(hash, contents)); err != nil {
				t.Errorf("RSA-%d %v: %v", bits, hash, err)
			}
			if err := keys.VerifyV1(w.pub, v, digestOf(hash, contents[1:])); !errors.Is(err, keys.ErrBadSignature) {
				t.Errorf("RSA-%d %v, other contents: %v", bits, hash, err)
			}
		}
	}
}

// TestVersion3 builds a version 3 value and compares it with evmctl's --veritysig (since 1.5). With
// an older evmctl it compares the signature over the digest of ima_file_id, which is the same under
// a version 2 header.
func TestVersion3(t *testing.T) {
	testkit.Tool(t, "evmctl", "sh")
	w := newWorkshop(t, 2048)
	verity := digestOf(ima.SHA256, []byte("stands for an fs-verity digest"))
	id, err := ima.FileID(ima.SHA256, verity)
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(ima.SHA256, id)
	sig, err := w.signer.Sign(nil, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ours := ima.Value{Type: ima.VeritySignature, Version: 3, Hash: ima.SHA256, KeyID: w.pub.ID, Signature: sig}

	testkit.Write(t, w.path("line"), []byte("sha256:"+hex.EncodeToString(verity)+" file\n"))
	out, _, err := testkit.Try(w.dir, "sh", "-c", "evmctl sign_hash --veritysig --key private.pem <line")
	if err != nil {
		t.Log("this evmctl has no --veritysig: it signs the digest of ima_file_id itself")
		testkit.Write(t, w.path("line"), []byte(hex.EncodeToString(digest)+" file\n"))
		out = testkit.Run(t, w.dir, "sh", "-c", "evmctl sign_hash -a sha256 --key private.pem <line")
	}
	fields := bytes.Fields(out)
	if len(fields) != 3 {
		t.Fatalf("evmctl prints %q", out)
	}
	theirs := testkit.Hex(t, fields[2])
	want, err := ours.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if theirs[0] == byte(ima.Signature) {
		theirs[0], theirs[1] = byte(ima.VeritySignature), 3
	}
	if !bytes.Equal(theirs, want) {
		t.Errorf("evmctl's value\n%x, ours is\n%x", theirs, want)
	}
	if _, err := w.store.Verify(ours, digest); err != nil {
		t.Error(err)
	}
}
