package ima

import (
	"bytes"
	"crypto"
	_ "crypto/md5"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tool skips a test if a tool is missing, or fails it if all tools are required.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		} else if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is needed: %v", name, err)
		} else {
			t.Skipf("%s is needed: %v", name, err)
		}
	}
}

// run returns the standard output of a command.
func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// evmctl returns the value that evmctl -n prints for the file "file" in dir.
func evmctl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	out := run(t, dir, "evmctl", append(args, "-n", "file")...)
	raw, err := hex.DecodeString(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatalf("evmctl prints %q: %v", out, err)
	}
	return raw
}

// parseBack parses a value and checks that Append returns the same bytes.
func parseBack(t *testing.T, raw []byte) Value {
	t.Helper()
	v, err := Parse(raw)
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	if back, err := v.Append(nil); err != nil || !bytes.Equal(back, raw) {
		t.Fatalf("Append gives %x, %v, want %x", back, err, raw)
	}
	return v
}

func digestOf(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

var contents = []byte("contents of a file\n")

func TestEvmctlDigests(t *testing.T) {
	tool(t, "evmctl")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), contents, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		hash HashID
		typ  Type
	}{{MD5, Digest}, {SHA1, Digest}, {SHA224, DigestNG}, {SHA256, DigestNG}, {SHA384, DigestNG}, {SHA512, DigestNG}} {
		v := parseBack(t, evmctl(t, dir, "ima_hash", "-a", tt.hash.String()))
		if v.Type != tt.typ || v.Hash != tt.hash || !bytes.Equal(v.Digest, digestOf(tt.hash.CryptoHash(), contents)) {
			t.Errorf("%v: %+v", tt.hash, v)
		}
	}
}

func TestEvmctlSignatures(t *testing.T) {
	tool(t, "evmctl", "openssl")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), contents, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "openssl", "genrsa", "-out", "key.pem", "2048")

	for _, hash := range []HashID{SHA1, SHA224, SHA256, SHA384, SHA512} {
		v := parseBack(t, evmctl(t, dir, "ima_sign", "-a", hash.String(), "--key", "key.pem", "--keyid", "0x01020304"))
		if v.Type != Signature || v.Version != 2 || v.Hash != hash || v.KeyID != (KeyID{1, 2, 3, 4}) || len(v.Signature) != 256 {
			t.Errorf("version 2, %v: %+v", hash, v)
		}
	}
	for _, hash := range []HashID{SHA1, SHA256} {
		before := time.Now().Unix()
		v := parseBack(t, evmctl(t, dir, "ima_sign", "--rsa", "-a", hash.String(), "--key", "key.pem"))
		if v.Type != Signature || v.Version != 1 || v.Hash != hash || v.MPIBits != 2048 || len(v.Signature) != 256 {
			t.Errorf("version 1, %v: %+v", hash, v)
		}
		if ts := int64(v.Timestamp); ts < before || ts > time.Now().Unix() {
			t.Errorf("version 1, %v: made at %d, but it was %d", hash, ts, before)
		}
	}
}
