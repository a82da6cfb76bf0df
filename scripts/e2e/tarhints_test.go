package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestTarHints does what the hint of a refusal says, in the words that were printed. Afterwards there is an archive that
// can be signed.
func TestTarHints(t *testing.T) {
	bed.Need(t, "tar", "openssl", "sh")
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		says string
	}{
		"unknown-type": {unknownType, "its type is 'Z'"},
		"volumes":      {volumes, "the rest of a file that begins in another volume"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, k := bed.Dir(t), defaultKey(t)
			c.make(t, dir)
			r := imagetool(t, "sign", "--key", k.private, "--format", "tar", filepath.Join(dir, "ARCHIVE"), "--out", filepath.Join(dir, "out.tar")).expect(t, 1)
			_, rest, _ := strings.Cut(r.stderr, "\nhint: ")
			_, command, ok := strings.Cut(rest, "'")
			if end := strings.LastIndex(command, "'"); ok && end >= 0 {
				command = command[:end]
			}
			if !strings.Contains(r.stderr, c.says) || !ok {
				t.Fatalf("want an error about %q, and a hint:\n%v", c.says, r)
			}
			peer(t, "sh", "-c", "cd "+dir+" && umask 022 && "+command)
			signed := filepath.Join(dir, "signed.tar")
			imagetool(t, "sign", "--key", k.private, filepath.Join(dir, "NEW.tar"), "--out", signed).expect(t, 0)
			imagetool(t, "verify", "--trust", k.cert, signed).expect(t, 0)
			if got := peer(t, "tar", "-xOf", signed, "./file"); got != contentsOfFile {
				t.Errorf("%d bytes of contents, want %d", len(got), len(contentsOfFile))
			}
		})
	}
}

var contentsOfFile = strings.Repeat("some text\n", 8000)

// unknownType makes an archive whose member has a type that GNU tar unpacks as a file.
func unknownType(t *testing.T, dir string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Size: int64(len(contentsOfFile)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(contentsOfFile))
	w.Close()
	a := b.Bytes()
	a[156] = 'Z'
	copy(a[148:156], "        ")
	sum := 0
	for _, c := range a[:512] {
		sum += int(c)
	}
	copy(a[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if err := os.WriteFile(filepath.Join(dir, "ARCHIVE"), a, 0o644); err != nil {
		t.Fatal(err)
	}
}

// volumes makes an archive in two parts; ARCHIVE is the second.
func volumes(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(contentsOfFile), 0o644); err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(dir, "FIRST"), filepath.Join(dir, "SECOND")
	peer(t, "tar", "--create", "--multi-volume", "--tape-length=50", "--file", first, "--file", second, "-C", dir, "file")
	if err := os.Symlink("SECOND", filepath.Join(dir, "ARCHIVE")); err != nil {
		t.Fatal(err)
	}
}
