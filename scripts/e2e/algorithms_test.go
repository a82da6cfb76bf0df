package e2e

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// smallImage is a 32 MiB file system with a few files of every kind.
func smallImage(t *testing.T, dir string) string {
	t.Helper()
	return refused{spoil: asMade}.image(t, dir)
}

// TestAlgorithms: every key size with every hash gives evmctl's bytes, and evmctl's own verification takes ours.
func TestAlgorithms(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl", "sha256sum", "sha384sum", "sha512sum")
	dir := bed.Dir(t)
	image := smallImage(t, dir)
	for _, bits := range []int{2048, 3072, 4096} {
		for _, hash := range []string{"sha256", "sha384", "sha512"} {
			t.Run(fmt.Sprintf("rsa%d-%s", bits, hash), func(t *testing.T) {
				t.Parallel()
				k, out := testKey(t, "rsa"+itoa(bits), bits), filepath.Join(dir, fmt.Sprintf("%d-%s.img", bits, hash))
				imagetool(t, "sign", "--key", k.private, "--hash", hash, image, "--out", out).expect(t, 0)
				imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
				fsck(t, out)
				root, _ := mount(t, out, true, 0)
				expectEvmctlVerifies(t, k, hash, root)
				expectBlob(t, k, hash, filepath.Join(root, "file"))
			})
		}
	}
}

// expectEvmctlVerifies compares every file's value with evmctl's and lets evmctl verify it.
func expectEvmctlVerifies(t *testing.T, k *key, hash, root string) {
	t.Helper()
	v := readView(t, root)
	for _, path := range v.regular() {
		file := filepath.Join(root, path)
		digest := strings.Fields(peer(t, hash+"sum", file))[0]
		want := evmctlValues(t, k, hash, map[string]bool{digest: true})[digest]
		if got := v[path].Xattrs[imaName]; got != want {
			t.Errorf("%q: security.ima\n got %x\nwant %x", path, got, want)
		}
		if out, err := try("evmctl", "ima_verify", "-a", hash, "-k", k.certDER, file); err != nil {
			t.Errorf("evmctl ima_verify %q: %v\n%s", path, err, out)
		}
	}
}

// expectBlob: signer blob prints the value that the image got, from a file, a digest and a batch alike.
func expectBlob(t *testing.T, k *key, hash, file string) {
	t.Helper()
	sum := peer(t, hash+"sum", file)
	digest := strings.Fields(sum)[0]
	want := hex.EncodeToString([]byte(evmctlValues(t, k, hash, map[string]bool{digest: true})[digest])) + "\n"
	base := []string{"blob", "--key", k.private, "--hash", hash}
	for _, args := range [][]string{{file}, {"--digest", digest}} {
		if r := signer(t, append(base, args...)...).expect(t, 0); r.stdout != want {
			t.Errorf("%v\nwant %s", r, want)
		}
	}
	batch := bed.AsNobody("signer", append(base, "--batch")...)
	batch.Stdin = strings.NewReader(sum + sum)
	if r := finish(t, batch).expect(t, 0); r.stdout != want+want {
		t.Errorf("%v\nwant twice %s", r, want)
	}
}

// TestKeyNew: a key of ours is one that openssl and evmctl take, with one id for its certificate and its bare key.
func TestKeyNew(t *testing.T) {
	bed.Need(t, "evmctl", "openssl")
	dir := filepath.Join(bed.Dir(t), "key")
	signer(t, "key", "new", "--out", dir).expect(t, 0)
	private, cert := filepath.Join(dir, "private.pem"), filepath.Join(dir, "cert.pem")
	info, err := os.Stat(private)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%s: mode %v, %v; want 0600", private, info.Mode(), err)
	}
	peer(t, "openssl", "pkey", "-in", private, "-check", "-noout")
	der := filepath.Join(dir, "cert.der")
	peer(t, "openssl", "x509", "-in", cert, "-outform", "DER", "-out", der)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("signed"), 0o644); err != nil {
		t.Fatal(err)
	}
	peer(t, "evmctl", "ima_sign", "-a", "sha256", "-k", private, file)
	peer(t, "evmctl", "ima_verify", "-a", "sha256", "-k", der, file)
	signer(t, "verify", "--trust", cert, file).expect(t, 0)
}

// TestKeyIDFromCertificate: --cert takes the id from a certificate whose SKID is not made from the key.
func TestKeyIDFromCertificate(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir := bed.Dir(t)
	k, image, out := testKey(t, "skid", 2048), smallImage(t, dir), filepath.Join(dir, "out.img")
	cert := filepath.Join(dir, "skid.crt")
	peer(t, "openssl", "req", "-x509", "-new", "-key", k.private, "-subj", "/CN=skid", "-addext", "subjectKeyIdentifier=0102030405060708", "-out", cert)
	imagetool(t, "sign", "--key", k.private, "--cert", cert, image, "--out", out).expect(t, 0)
	imagetool(t, "verify", "--trust", cert, out).expect(t, 0)
	imagetool(t, "verify", "--trust", k.public, out).expect(t, 3) // the bare key has another id
	v := viewImage(t, out, 0)
	root, _ := mount(t, copyImage(t, image, filepath.Join(dir, "evmctl.img")), false, 0)
	for _, path := range v.regular() {
		peer(t, "evmctl", "ima_sign", "-a", "sha256", "-k", k.private, "--keyid-from-cert", cert, filepath.Join(root, path))
	}
	want := readView(t, root)
	expectValues(t, v, func(path string) string { return want[path].Xattrs[imaName] })
}
