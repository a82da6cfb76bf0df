package private

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/internal/testkit"
)

func TestGenerate(t *testing.T) {
	for _, pass := range []string{"", secret} {
		dir := filepath.Join(t.TempDir(), "key")
		pub, err := Generate(dir, GenerateOptions{Name: "builds of Übung", Passphrase: []byte(pass)})
		if err != nil {
			t.Fatal(err)
		}
		if bits := pub.RSA.N.BitLen(); bits != 2048 {
			t.Errorf("%d bits by default", bits)
		}
		for name, perm := range map[string]os.FileMode{PrivateFile: 0o600, CertificateFile: 0o644, PublicFile: 0o644, TrustFile: 0o644} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got&^perm != 0 {
				t.Errorf("%s has mode %04o", name, got)
			}
		}
		s, err := Open(context.Background(), filepath.Join(dir, PrivateFile), Options{Passphrase: fixed(pass)})
		if err != nil {
			t.Fatal(err)
		}
		if !pub.RSA.Equal(s.Public()) {
			t.Error("the private key is another one")
		}
		for _, name := range []string{CertificateFile, PublicFile} {
			k, err := certs.LoadOf(t.Context(), filepath.Join(dir, name), pub.RSA)
			if err != nil {
				t.Fatal(err)
			}
			if k.ID != pub.ID || !k.RSA.Equal(pub.RSA) {
				t.Errorf("%s: key %v, want %v", name, k.ID, pub.ID)
			}
		}
		checkCertificate(t, filepath.Join(dir, CertificateFile), pub)
	}
}

func checkCertificate(t *testing.T, path string, pub *keys.PublicKey) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	skid := keys.SubjectKeyID(pub)
	if !bytes.Equal(cert.SubjectKeyId, skid[:]) {
		t.Errorf("SKID %x, want %x", cert.SubjectKeyId, skid)
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.Subject.CommonName != "builds of Übung" {
		t.Errorf("certificate: CA %v, usage %v, subject %v", cert.IsCA, cert.KeyUsage, cert.Subject)
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		t.Errorf("the certificate is not signed by its key: %v", err)
	}
}

// TestGenerateAgainstOpenssl: openssl opens the encrypted key, and computes the same SKID with its
// "hash" method.
func TestGenerateAgainstOpenssl(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := filepath.Join(t.TempDir(), "key")
	pub, err := Generate(dir, GenerateOptions{Bits: 3072, Passphrase: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	out := testkit.Run(t, dir, "openssl", "pkey", "-in", PrivateFile, "-passin", "pass:"+secret, "-pubout")
	if !bytes.Equal(out, keys.MarshalPEM(pub)) {
		t.Error("openssl finds another key in private.pem")
	}
	if out, _, err := testkit.Try(dir, "openssl", "pkey", "-in", PrivateFile, "-passin", "pass:wrong"); err == nil {
		t.Errorf("openssl opens it with a wrong passphrase: %s", out)
	}
	testkit.Run(t, dir, "openssl", "verify", "-CAfile", CertificateFile, "-partial_chain", CertificateFile)
	theirs := testkit.Run(t, dir, "openssl", "req", "-new", "-x509", "-key", PrivateFile, "-passin", "pass:"+secret, "-subj", "/CN=x", "-addext", "subjectKeyIdentifier=hash")
	block, _ := pem.Decode(theirs)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if skid := keys.SubjectKeyID(pub); !bytes.Equal(cert.SubjectKeyId, skid[:]) {
		t.Errorf("SKID %x, openssl has %x", skid, cert.SubjectKeyId)
	}
	text := testkit.Run(t, dir, "openssl", "x509", "-in", CertificateFile, "-noout", "-text")
	for _, want := range []string{"CA:FALSE", "Digital Signature", strings.ToUpper(hex.EncodeToString(pub.ID[3:]))} {
		if !strings.Contains(string(text), want) {
			t.Errorf("openssl does not show %q in:\n%s", want, text)
		}
	}
}

// TestGenerateKeepsFiles: each of the three files may exist. It must not change, and no other file
// may appear.
func TestGenerateKeepsFiles(t *testing.T) {
	for _, name := range []string{PrivateFile, CertificateFile, PublicFile, TrustFile} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, name), []byte("mine"))
		if _, err := Generate(dir, GenerateOptions{}); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s in the way: %v", name, err)
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if len(list) != 1 || err != nil || string(text) != "mine" {
			t.Errorf("%s in the way: left %v, %q, %v", name, list, text, err)
		}
	}
}

// TestGenerateCleansUp fails after the files were created.
func TestGenerateCleansUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "key")
	out, err := newFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	out.open[1].Close()
	if err := out.write([]byte("a"), []byte("b"), []byte("c")); err == nil {
		t.Fatal("writing to a closed file succeeds")
	}
	if err := out.abort(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "key")
	for name, opt := range map[string]GenerateOptions{
		"1024 bits": {Bits: 1024}, "2049 bits": {Bits: 2049}, "long name": {Name: strings.Repeat("x", 65)},
	} {
		if _, err := Generate(dir, opt); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	if _, err := Generate(filepath.Join(dir, "a", "b"), GenerateOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder in a missing folder: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was made")
	}
}
