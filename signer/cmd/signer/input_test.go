package main

import (
	"bytes"
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer/cli"
)

// run runs the command in this process.
func run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = cli.Run(ctx, newRoot(), args, &out, &errs, hint)
	return code, out.String(), errs.String()
}

// makeKey makes a key and gives the names of its files.
func makeKey(t *testing.T, passphrase string) (privateKey, cert string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "key")
	if _, err := private.Generate(dir, private.GenerateOptions{Passphrase: []byte(passphrase)}); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, private.PrivateFile), filepath.Join(dir, private.CertificateFile)
}

// A pipe that nobody writes to does not outlive the context, wherever it stands.
func TestInputsAreCancelled(t *testing.T) {
	key, cert := makeKey(t, "")
	locked, _ := makeKey(t, "secret")
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"sign", "--key", fifo, dir},
		{"sign", "--key", key, "--cert", fifo, dir},
		{"sign", "--key", key, "--rules", fifo, dir},
		{"sign", "--key", locked, "--passphrase-file", fifo, dir},
		{"verify", "--trust", fifo, dir},
		{"verify", "--trust", cert, "--rules", fifo, dir},
		{"blob", "--key", key, fifo},
		{"key", "show", fifo},
		{"key", "trust", "--out", filepath.Join(dir, "trust"), fifo},
		{"key", "new", "--out", filepath.Join(dir, "new"), "--passphrase-file", fifo},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		code, stdout, stderr := run(ctx, args...)
		cancel()
		if code != 1 || stdout != "" || stderr != "error: interrupted\n" {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// A file without an end is refused.
func TestInputsAreBounded(t *testing.T) {
	_, cert := makeKey(t, "")
	dir := t.TempDir()
	for _, args := range [][]string{
		{"sign", "--key", "/dev/zero", dir},
		{"verify", "--trust", "/dev/zero", dir},
		{"verify", "--trust", cert, "--rules", "/dev/zero", dir},
		{"key", "show", "/dev/zero"},
		{"key", "trust", "--out", filepath.Join(dir, "trust"), "/dev/zero"},
		{"key", "new", "--out", filepath.Join(dir, "new"), "--passphrase-file", "/dev/zero"},
	} {
		code, _, stderr := run(t.Context(), args...)
		if code != 1 || !strings.Contains(stderr, "/dev/zero: ") || !strings.Contains(stderr, " than ") {
			t.Errorf("%v: code %d, stderr %q", args, code, stderr)
		}
	}
}

// An empty name is told from a missing file.
func TestEmptyNames(t *testing.T) {
	key, cert := makeKey(t, "")
	for _, args := range [][]string{
		{"sign", "--key", "", "."},
		{"sign", "--key", key, ""},
		{"verify", "--trust", "", "."},
		{"verify", "--trust", cert, ""},
		{"blob", "--key", key, ""},
		{"key", "show", ""},
	} {
		if code, _, stderr := run(t.Context(), args...); code == 0 || !strings.Contains(stderr, "empty") {
			t.Errorf("%q: code %d, stderr %q", args, code, stderr)
		}
	}
}

func TestHints(t *testing.T) {
	_, cert := makeKey(t, "")
	missing := filepath.Join(t.TempDir(), "missing")
	for _, args := range [][]string{
		{"sign", "--key", missing, "."},
		{"verify", "--trust", missing, "."},
		{"verify", "--trust", cert, missing},
	} {
		if code, _, stderr := run(t.Context(), args...); code != 1 || !strings.Contains(stderr, "no such file or directory\nhint: a relative path ") {
			t.Errorf("%v: code %d, stderr %q", args, code, stderr)
		}
	}
	if hint(&fs.PathError{Op: "open", Path: "x", Err: unix.EACCES}) == "" {
		t.Error("no hint for want of permission")
	}
}
