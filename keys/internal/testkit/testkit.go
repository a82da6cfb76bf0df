package testkit

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Tool skips a test if a tool is missing, or fails it if all tools are required.
func Tool(tb testing.TB, names ...string) {
	tb.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		if err == nil {
			continue
		}
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			tb.Fatalf("%s is needed: %v", name, err)
		}
		tb.Skipf("%s is needed: %v", name, err)
	}
}

// Try runs a command in dir and returns its standard output and standard error.
func Try(dir, name string, args ...string) (stdout, stderr []byte, err error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.Bytes(), errs.Bytes(), err
}

// Run is Try for a command that must succeed.
func Run(tb testing.TB, dir, name string, args ...string) []byte {
	tb.Helper()
	stdout, stderr, err := Try(dir, name, args...)
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// Hex decodes a line of hexadecimal digits, as evmctl prints it.
func Hex(tb testing.TB, line []byte) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(string(line)))
	if err != nil {
		tb.Fatalf("%q: %v", line, err)
	}
	return b
}

var (
	mu   sync.Mutex
	made = make(map[int]*rsa.PrivateKey)
)

// Key returns an RSA key of the given size. It is the same for all tests of this run.
func Key(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	mu.Lock()
	defer mu.Unlock()
	if made[bits] == nil {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			tb.Fatal(err)
		}
		made[bits] = key
	}
	return made[bits]
}

// WritePrivate writes a key as unencrypted PKCS #8.
func WritePrivate(tb testing.TB, path string, key any) {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	Write(tb, path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Write writes a file that only its owner can read.
func Write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
