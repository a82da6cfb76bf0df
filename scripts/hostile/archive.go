package hostile

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An archiveKind is a tar archive as a tool makes it.
type archiveKind struct {
	name string
	args []string
}

var archiveKinds = []archiveKind{
	{"ustar", []string{"tar", "--format=ustar", "--exclude=nnn*"}},
	{"gnu", []string{"tar", "--format=gnu", "--sparse"}},
	{"oldgnu", []string{"tar", "--format=oldgnu", "--sparse"}},
	{"pax", []string{"tar", "--format=pax", "--xattrs", "--xattrs-include=*"}},
	{"pax-sparse-1.0", []string{"tar", "--format=pax", "--sparse"}},
	{"pax-sparse-0.1", []string{"tar", "--format=pax", "--sparse", "--sparse-version=0.1"}},
	{"pax-sparse-0.0", []string{"tar", "--format=pax", "--sparse", "--sparse-version=0.0"}},
	{"bsdtar", []string{"bsdtar", "--format", "pax"}},
}

// archives are whole ones to be spoilt.
type archives struct {
	seed  uint64
	bytes [][]byte // of each kind
}

// newArchives makes an archive of each kind of a small tree.
func newArchives(ctx context.Context, dir string, seed uint64) (*archives, error) {
	root := filepath.Join(dir, "root")
	if err := archiveTree(root); err != nil {
		return nil, err
	}
	a := &archives{seed: seed}
	for _, k := range archiveKinds {
		out := filepath.Join(dir, k.name+".tar")
		r, err := run(ctx, patience, append(slices.Clone(k.args), "-cf", out, "-C", root, ".")...)
		if err != nil {
			return nil, err
		}
		if r.Code != 0 {
			return nil, fmt.Errorf("%s: %s", k.args[0], r.stderr)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		a.bytes = append(a.bytes, b)
	}
	return a, nil
}

// archiveTree has one of each kind of member, and little data between the headers.
func archiveTree(root string) error {
	if err := os.MkdirAll(filepath.Join(root, "dir"), 0o755); err != nil {
		return err
	}
	files := map[string]string{"empty": "", "dir/short": "short", "dir/two": strings.Repeat("two blocks", 90), "dir/" + strings.Repeat("n", 150): "long name"}
	for name, contents := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(contents), 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range 30 { // more than one old header of GNU has room for
		if _, err := f.WriteAt([]byte("data"), int64(i)<<13); err != nil {
			return err
		}
	}
	if err := f.Truncate(1 << 19); err != nil {
		return err
	}
	if err := os.Link(filepath.Join(root, "dir/two"), filepath.Join(root, "zlink")); err != nil {
		return err
	}
	return os.Symlink("dir/short", filepath.Join(root, "symlink"))
}

// make spoils the archive with this number.
func (a *archives) make(n int) *specimen {
	rng := rand.New(rand.NewPCG(a.seed, 2<<32+uint64(n)))
	i := n % len(archiveKinds)
	s := &specimen{number: n, kind: archiveKinds[i].name, ext: ".tar", bytes: bytes.Clone(a.bytes[i])}
	for range 1 + rng.IntN(3) {
		s.damage = append(s.damage, spoilArchive(s, rng))
	}
	return s
}

// tarFields are where in a header its fields lie, and what may stand in them.
var tarFields = []struct {
	name       string
	at, length int
	values     []string
}{
	{"name", 0, 100, []string{"", "/", "..", "../x", "./", "dir", "dir/short", "a/", "\xff\x01"}},
	{"size", 124, 12, []string{"", "0", "00000000001\x00", "00000000777\x00", "00000001000\x00", "00000001001\x00", "77777777777\x00", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "9", " 7 8"}},
	{"type", 156, 1, []string{"\x00", "0", "1", "2", "5", "6", "7", "g", "x", "A", "D", "I", "K", "L", "M", "N", "S", "V", "X", "Z"}},
	{"linkname", 157, 100, []string{"", "dir/two", "zlink", "../../x", "/x"}},
	{"magic", 257, 8, []string{"", "ustar\x0000", "ustar  \x00", "ustar\x00", "USTAR"}},
	{"prefix", 345, 155, []string{"", "dir", "/", "..", "12345670000 "}},
	{"sparse", 386, 24, []string{"", "00000000000\x0000000001000\x00", "00000001000\x0077777777777\x00", "77777777777\x0000000000001\x00"}},
	{"second", 410, 24, []string{"", "00000000000\x0000000001000\x00", "00000001000\x0000000000001\x00"}},
	{"isextended", 482, 1, []string{"\x00", "\x01"}},
	{"realsize", 483, 12, []string{"", "0", "00000000777\x00", "77777777777\x00", "\x80\x00\x00\x00\x3f\xff\xff\xff\xff\xff\xff\xff"}},
	{"star", 508, 4, []string{"tar\x00", ""}},
}

// spoilArchive changes a field of a header, a byte of what belongs to one, or the order of
// blocks, and makes checksums right most of the time.
func spoilArchive(s *specimen, rng *rand.Rand) string {
	headers := headersOf(s.bytes)
	if len(headers) == 0 || len(s.bytes) < 2048 {
		return "nothing left to spoil"
	}
	at := headers[rng.IntN(len(headers))]
	b := s.bytes[at : at+512]
	did := ""
	switch rng.IntN(10) {
	case 0, 1, 2, 3, 4:
		f := tarFields[rng.IntN(len(tarFields))]
		value := f.values[rng.IntN(len(f.values))]
		clear(b[f.at : f.at+f.length])
		copy(b[f.at:f.at+f.length], value)
		did = fmt.Sprintf("header at %d: %s is %q", at, f.name, value)
	case 5, 6: // behind the header: records, long names, maps, data
		if at+1024 > len(s.bytes) {
			return "nothing behind the header"
		}
		i := at + 512 + rng.IntN(min(200, len(s.bytes)-at-512))
		s.bytes[i] = "0123456789=\n\x00 ,/GS"[rng.IntN(18)]
		return fmt.Sprintf("byte at %d is %q", i, s.bytes[i])
	case 7:
		n := 512 * (1 + rng.IntN(3))
		end := min(at+n, len(s.bytes))
		s.bytes = slices.Delete(s.bytes, at, end)
		return fmt.Sprintf("%d bytes at %d deleted", n, at)
	case 8:
		to := headers[rng.IntN(len(headers))]
		n := min(512*(1+rng.IntN(3)), len(s.bytes)-at)
		s.bytes = slices.Insert(s.bytes, to, slices.Clone(s.bytes[at:at+n])...)
		return fmt.Sprintf("%d bytes at %d inserted at %d", n, at, to)
	default:
		if rng.IntN(4) == 0 {
			s.bytes = s.bytes[:max(1, rng.IntN(len(s.bytes)))]
			return fmt.Sprintf("cut to %d bytes", len(s.bytes))
		}
		i := rng.IntN(512)
		b[i] = byte(rng.Uint32())
		did = fmt.Sprintf("header at %d: byte %d is %#x", at, i, b[i])
	}
	if rng.IntN(16) > 0 {
		sum := 0
		copy(b[148:156], "        ")
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	}
	return did
}

// headersOf finds headers by their magic.
func headersOf(b []byte) (at []int) {
	for i := 0; i+512 <= len(b); i += 512 {
		if string(b[i+257:i+262]) == "ustar" {
			at = append(at, i)
		}
	}
	return at
}

// signArchive is sign for an archive. What is signed stays as it is when it is signed again,
// and in what GNU tar and bsdtar unpack of it every file has a signature that is good.
func (t *trial) signArchive(ctx context.Context) {
	out := filepath.Join(t.dir, "signed.tar")
	c := t.imagetool(ctx, "sign", "--key", t.bed.key, t.image, "--out", out)
	t.expectBytes("sign --out", t.image, t.bytes)
	if c.Code != 0 {
		t.refusal = reason(c)
		t.expectFiles("sign --out", "image.tar")
		return
	}
	t.expectFiles("sign --out", "image.tar", "signed.tar")
	written, err := os.ReadFile(out)
	if err != nil {
		t.err = err
		return
	}
	if v := t.imagetool(ctx, "verify", "--trust", t.bed.public, out); v.Code != 0 {
		t.fault("verify of the signed archive: exit %d\n%s%s", v.Code, v.stdout, v.stderr)
	}
	again := filepath.Join(t.dir, "again.tar")
	t.imagetool(ctx, "sign", "--key", t.bed.key, out, "--out", again)
	t.expectBytes("sign of the signed archive", again, written)
	if os.Geteuid() == 0 { // only root may set security.ima
		t.unpackArchive(ctx, "tar", "--xattrs", "--xattrs-include=*", "-xf", out)
		t.unpackArchive(ctx, "bsdtar", "-xpf", out)
	}
}

// unpackArchive lets a tool unpack the archive, and verifies what it has made.
func (t *trial) unpackArchive(ctx context.Context, tool ...string) {
	root := t.dir + ".root"
	defer os.RemoveAll(root)
	if err := os.Mkdir(root, 0o755); err != nil {
		t.err = err
		return
	}
	c, err := run(ctx, patience, append(tool, "-C", root)...)
	if err != nil {
		t.err = err
		return
	}
	unpacked, err := run(ctx, patience, "find", root, "-type", "f", "-printf", ".")
	if err != nil || unpacked.stdout == "" {
		return
	}
	v, err := run(ctx, patience, t.bed.signer, "verify", "--trust", t.bed.public, root)
	if err != nil {
		t.err = err
	} else if v.Code != 0 {
		t.fault("signer verify of what %s unpacks: exit %d\n%s%s\n%s: exit %d\n%s", tool[0], v.Code, v.stdout, v.stderr, tool[0], c.Code, c.stderr)
	}
}
