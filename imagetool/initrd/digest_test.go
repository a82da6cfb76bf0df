package initrd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestDigest: the digest is that of all bytes, of what the kernel takes for an initrd.
func TestDigest(t *testing.T) {
	overlay := Overlay(debian(t), Options{})
	for _, text := range []string{string(overlay), "070701" + strings.Repeat("0", 5000), "\x1f\x8b", "\x28\xb5\x2f\xfdx"} {
		want := sha256.Sum256([]byte(text))
		got, err := Digest(iotest.OneByteReader(strings.NewReader(text)))
		if err != nil || !bytes.Equal(got, want[:]) {
			t.Errorf("%.10q: %x, %v, want %x", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "\x1f", "hello\n", strings.Repeat("\x00", 4096), "\x7fELF", "070707"} {
		if got, err := Digest(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "not an initrd") {
			t.Errorf("%.10q: %x, %v", text, got, err)
		}
	}
	broken := errors.New("broken")
	for _, r := range []io.Reader{iotest.ErrReader(broken), io.MultiReader(bytes.NewReader(overlay), iotest.ErrReader(broken))} {
		if _, err := Digest(r); !errors.Is(err, broken) {
			t.Errorf("%v, want %v", err, broken)
		}
	}
}
