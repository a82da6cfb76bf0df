package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCheckOutputs names the key, its certificate and its passphrase as outputs, by a link too.
func TestCheckOutputs(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"key", "cert", "passphrase", "other"} {
		if err := os.WriteFile(path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(path("key"), path("link")); err != nil {
		t.Fatal(err)
	}
	k := KeyFlags{Key: path("key"), Cert: path("cert"), PassphraseFile: path("passphrase")}
	for _, name := range []string{"key", "link", "cert", "passphrase"} {
		if err := k.CheckOutputs("", path(name)); err == nil {
			t.Errorf("%s may be replaced", name)
		}
	}
	if err := k.CheckOutputs("", path("other"), path("new")); err != nil {
		t.Error(err)
	}
}
