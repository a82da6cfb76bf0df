package e2e

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// key is an RSA key made by openssl, in the forms that both sides want.
type key struct {
	private string // PEM
	public  string // PEM
	cert    string // PEM, SKID as openssl makes it: SHA-1 of the public key
	certDER string // the same for evmctl ima_verify
}

var (
	keysMu sync.Mutex
	keys   = map[string]*key{}
)

// testKey makes a key of the given size once per run; another name is another key.
func testKey(t *testing.T, name string, bits int) *key {
	t.Helper()
	keysMu.Lock()
	defer keysMu.Unlock()
	if k := keys[name]; k != nil {
		return k
	}
	p := filepath.Join(bed.Folder(), name)
	k := &key{private: p + ".pem", public: p + ".pub", cert: p + ".crt", certDER: p + ".der"}
	peer(t, "openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:"+itoa(bits), "-out", k.private)
	peer(t, "openssl", "pkey", "-in", k.private, "-pubout", "-out", k.public)
	peer(t, "openssl", "req", "-x509", "-new", "-key", k.private, "-days", "30", "-subj", "/CN="+name,
		"-addext", "subjectKeyIdentifier=hash", "-out", k.cert)
	peer(t, "openssl", "x509", "-in", k.cert, "-outform", "DER", "-out", k.certDER)
	for _, f := range []string{k.private, k.public, k.cert} {
		if err := os.Chown(f, bed.Nobody, bed.Nobody); err != nil {
			t.Fatal(err)
		}
	}
	keys[name] = k
	return k
}

// defaultKey is the key of tests that are not about keys.
func defaultKey(t *testing.T) *key { return testKey(t, "key", 2048) }

// evmctlValues asks evmctl for the security.ima value of each digest.
func evmctlValues(t *testing.T, k *key, hash string, digests map[string]bool) map[string]string {
	t.Helper()
	var input strings.Builder
	for d := range digests {
		input.WriteString(d + "  -\n")
	}
	values := map[string]string{}
	for _, line := range strings.Split(peerInput(t, input.String(), "evmctl", "sign_hash", "-a", hash, "-k", k.private), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 3 || !digests[fields[0]] {
			continue
		}
		value, err := hex.DecodeString(fields[2])
		if err != nil {
			t.Fatalf("evmctl sign_hash: %q: %v", line, err)
		}
		values[fields[0]] = string(value)
	}
	if len(values) != len(digests) {
		t.Fatalf("evmctl sign_hash gave %d values for %d digests", len(values), len(digests))
	}
	return values
}

// expectSigned fails the test unless every regular file of after carries exactly the bytes that evmctl makes for the
// contents that the kernel reads, and nothing else has changed.
func expectSigned(t *testing.T, k *key, before, after view) {
	t.Helper()
	compareViews(t, before, after, true)
	digests := map[string]bool{}
	for _, path := range before.regular() {
		if len(before[path].Sum) != 64 {
			t.Fatalf("%q: no digest to compare with: %s", path, before[path].Sum)
		}
		digests[before[path].Sum] = true
	}
	values := evmctlValues(t, k, "sha256", digests)
	expectValues(t, after, func(path string) string { return values[before[path].Sum] })
}

// expectValues compares security.ima of every regular file.
func expectValues(t *testing.T, v view, want func(path string) string) {
	t.Helper()
	c := &complaints{t: t}
	defer c.close()
	for _, path := range v.regular() {
		if got := v[path].Xattrs[imaName]; got != want(path) {
			c.add("%q: security.ima\n got %x\nwant %x", path, got, want(path))
		}
	}
}

// evmctlTree lets evmctl sign every regular file below a folder. It is told the files one by one where it must not
// pass over a file in silence: ima_sign -r ignores errors.
func evmctlTree(t *testing.T, k *key, dir string) {
	t.Helper()
	if out, err := try("evmctl", "ima_sign", "-r", "-a", "sha256", "-k", k.private, dir); err != nil {
		t.Fatalf("evmctl ima_sign -r: %v\n%s", err, bed.Clip(out))
	}
}

// TestOracle holds evmctl against itself: signing digests must give what signing files gives, or the other tests
// compare with the wrong thing.
func TestOracle(t *testing.T) {
	bed.Need(t, "evmctl", "mke2fs", "losetup", "openssl")
	k, image := defaultKey(t), mke2fs(t, bed.Dir(t), 16, "-t", "ext4")
	dir, _ := mount(t, image, false, 0)
	for name, contents := range map[string]string{"empty": "", "hello": "hello", "zeros": string(make([]byte, 10000))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	evmctlTree(t, k, dir)
	v, digests := readView(t, dir), map[string]bool{}
	for _, path := range v.regular() {
		digests[v[path].Sum] = true
	}
	if len(digests) != 3 {
		t.Fatalf("%d files in the view, want 3", len(digests))
	}
	values := evmctlValues(t, k, "sha256", digests)
	expectValues(t, v, func(path string) string { return values[v[path].Sum] })
}

// sortedKeys is for messages that do not change from run to run.
func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
