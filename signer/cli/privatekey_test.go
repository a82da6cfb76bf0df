package cli

import (
	"bytes"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/keys/private"
)

// A process that has a private key can be neither dumped nor looked into.
func TestOpenKeyHidesMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "key")
	if _, err := private.Generate(dir, private.GenerateOptions{}); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := OpenKey(t.Context(), newOutput(&buf, &buf), filepath.Join(dir, private.PrivateFile), ""); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); n != 0 || err != nil {
		t.Errorf("dumpable %d, %v", n, err)
	}
}
