package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// tampered is one file of a signed image that somebody has changed.
type tampered struct {
	change func(p *populator, name string)
	want   string // reason, or verdict where there is none
}

// label changes the bytes of a file's security.ima.
func label(change func(b []byte) []byte) func(p *populator, name string) {
	return func(p *populator, name string) {
		b := make([]byte, 4096)
		n, err := unix.Lgetxattr(p.path(name), imaName, b)
		p.must(err)
		p.set(name, imaName, change(b[:n]))
	}
}

func flip(i int, bits byte) func(p *populator, name string) {
	return label(func(b []byte) []byte { b[i] ^= bits; return b })
}

// The header of a version 2 signature: type, version, hash id, key id (4), signature length (2), then the signature.
var tamperings = map[string]tampered{
	"content-flipped": {want: "content-changed", change: func(p *populator, name string) {
		f, err := os.OpenFile(p.path(name), os.O_RDWR, 0)
		p.must(err)
		defer f.Close()
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 3)
		p.must(err)
		_, err = f.WriteAt([]byte{b[0] ^ 1}, 3)
		p.must(err)
	}},
	"content-longer": {want: "content-changed", change: func(p *populator, name string) {
		f, err := os.OpenFile(p.path(name), os.O_WRONLY|os.O_APPEND, 0)
		p.must(err)
		defer f.Close()
		_, err = f.Write([]byte{0})
		p.must(err)
	}},
	"content-empty":     {want: "content-changed", change: func(p *populator, name string) { p.must(os.Truncate(p.path(name), 0)) }},
	"signature-first":   {want: "signature-damaged", change: flip(9, 1)},
	"signature-last":    {want: "signature-damaged", change: flip(264, 1)},
	"key-id":            {want: "unknown-key", change: flip(3, 1)},
	"hash-id":           {want: "hash-id-damaged", change: flip(2, 4^6)}, // SHA-256 to SHA-512
	"hash-id-unknown":   {want: "malformed", change: flip(2, 0x80)},
	"version":           {want: "malformed", change: flip(1, 0x40)},
	"type":              {want: "malformed", change: flip(0, 0x40)},
	"truncated":         {want: "malformed", change: label(func(b []byte) []byte { return b[:len(b)-1] })},
	"header-only":       {want: "malformed", change: label(func(b []byte) []byte { return b[:9] })},
	"longer":            {want: "malformed", change: label(func(b []byte) []byte { return append(b, 0) })},
	"empty-value":       {want: "malformed", change: label(func(b []byte) []byte { return nil })},
	"value-of-another":  {want: "label-of-other-file", change: func(p *populator, name string) { p.swap(name, "another") }},
	"other-key":         {want: "unknown-key", change: func(p *populator, name string) { p.evmctl(name, "other", "ima_sign") }},
	"no-value":          {want: "unsigned", change: func(p *populator, name string) { p.must(unix.Lremovexattr(p.path(name), imaName)) }},
	"digest-only":       {want: "digest", change: func(p *populator, name string) { p.evmctl(name, "other", "ima_hash") }},
	"mode-setuid":       {change: func(p *populator, name string) { p.must(unix.Chmod(p.path(name), 0o4755)) }}, // contents only: still valid
	"another":           {},
	"untouched":         {},
	"signed-again":      {change: func(p *populator, name string) { p.evmctl(name, "key", "ima_sign") }},
	"new\nline \xff %":  {want: "signature-damaged", change: flip(100, 1)},
	"folder/in/folders": {want: "signature-damaged", change: flip(100, 1)},
}

// swap puts another file's value on a file.
func (p *populator) swap(name, from string) {
	b := make([]byte, 4096)
	n, err := unix.Lgetxattr(p.path(from), imaName, b)
	p.must(err)
	p.set(name, imaName, b[:n])
}

func (p *populator) evmctl(name, key, verb string) {
	args := []string{verb, "-a", "sha256"}
	if verb == "ima_sign" {
		args = append(args, "-k", testKey(p.t, key, 2048).private)
	}
	p.run("evmctl", append(args, p.path(name))...)
}

// TestTampering: verify names every file that was changed in a signed image, says why, and names no other.
func TestTampering(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image, out := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...), filepath.Join(dir, "out.img")
	mounted(func(p *populator) {
		for _, name := range sortedKeys(tamperings) {
			p.write(name, []byte("contents of "+name))
		}
	})(t, image)
	imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
	imagetool(t, "verify", "--trust", k.cert, out).expect(t, 0)
	mounted(func(p *populator) {
		for _, name := range sortedKeys(tamperings) {
			if change := tamperings[name].change; change != nil {
				change(p, name)
			}
		}
	})(t, out)
	fsck(t, out)

	want := map[string]string{}
	for name, c := range tamperings {
		if c.want != "" {
			want["/"+escaped(name)] = c.want
		}
	}
	t.Run("imagetool", func(t *testing.T) {
		expectFindings(t, imagetool(t, "verify", "--json", "--trust", k.cert, out).expect(t, 3), "", want)
		text := imagetool(t, "verify", "--trust", k.cert, out).expect(t, 3)
		for path, reason := range want {
			line := strings.ReplaceAll(path, "\n", "%0A") + ": "
			if at := strings.Index(text.stdout, line); at < 0 || !strings.Contains(strings.SplitN(text.stdout[at:], "\n", 2)[0], strings.Split(reason, "-")[0]) {
				t.Errorf("no line for %q with reason %s in\n%s", path, reason, text.stdout)
			}
		}
	})
	root, _ := mount(t, out, true, 0)
	t.Run("signer", func(t *testing.T) {
		expectFindings(t, signer(t, "verify", "--json", "--trust", k.cert, root).expect(t, 3), root, want)
	})
	t.Run("evmctl-agrees", func(t *testing.T) { // or the changes are not what they are called
		for name, c := range tamperings {
			_, err := try("evmctl", "ima_verify", "-a", "sha256", "-k", k.certDER, filepath.Join(root, name))
			if good := err == nil; good != (c.want == "") && c.want != "digest" {
				t.Errorf("%q: evmctl says %v, want good: %v", name, err, c.want == "")
			}
		}
	})
}

// escaped is a name as --json shows it: bytes that are no UTF-8, and the percent sign, as %XX.
func escaped(name string) string {
	return strings.NewReplacer("%", "%25", "\xff", "%FF", "\xfe", "%FE").Replace(name)
}

// expectFindings compares the objects of files that are not as they should be with what is wanted.
func expectFindings(t *testing.T, r result, root string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, o := range jsonLines(t, r.stdout) {
		if o["type"] != "file" || o["ok"] == true {
			continue
		}
		reason, _ := o["reason"].(string)
		if reason == "" {
			reason, _ = o["verdict"].(string)
		}
		path, _ := o["path"].(string)
		got[strings.TrimPrefix(path, root)] = reason
	}
	for path, reason := range want {
		if got[path] != reason {
			t.Errorf("%q: found %q, want %q", path, got[path], reason)
		}
	}
	for path, reason := range got {
		if want[path] == "" {
			t.Errorf("%q: found %q, yet nobody touched it", path, reason)
		}
	}
}
