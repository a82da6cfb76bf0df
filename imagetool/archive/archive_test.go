package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

// value has what a pax record could trip over.
var value = []byte("\x03\x02\x04key!\x01\x00 a\n27 path=evil\n\x00=\xff")

// makers are the ways in which archives are made, as commands that put "root" into OUT.
var makers = map[string][]string{
	"v7":     {"tar", "--format=v7", "-cf", "OUT", "-C", "root", "file", "hard", "link", "sparse"},
	"ustar":  {"tar", "--format=ustar", "--exclude=fff*", "-cf", "OUT", "-C", "root", "."},
	"oldgnu": {"tar", "--format=oldgnu", "-cSf", "OUT", "-C", "root", "."},
	"gnu":    {"tar", "--format=gnu", "-cSf", "OUT", "-C", "root", "."},
	"gnu-numbers": {"tar", "--format=gnu", "--owner=+3000000", "--mtime=@-99",
		"-cf", "OUT", "-C", "root", "."},
	"gnu-label":       {"tar", "--format=gnu", "--label=volume", "-cf", "OUT", "-C", "root", "."}, // whose header has no magic
	"gnu-incremental": {"tar", "--format=gnu", "--listed-incremental=snapshot", "-cf", "OUT", "-C", "root", "."},
	"pax": {"tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--pax-option=globexthdr.name=g,comment=all",
		"-cf", "OUT", "-C", "root", "."},
	"pax-1.0":    {"tar", "--format=pax", "-cSf", "OUT", "-C", "root", "."},
	"pax-0.1":    {"tar", "--format=pax", "--sparse-version=0.1", "-cSf", "OUT", "-C", "root", "."},
	"pax-0.0":    {"tar", "--format=pax", "--sparse-version=0.0", "-cSf", "OUT", "-C", "root", "."},
	"bsd-pax":    {"bsdtar", "--format", "pax", "-cf", "OUT", "-C", "root", "."},
	"bsd-ustar":  {"bsdtar", "--format", "ustar", "-cf", "OUT", "-C", "root", "file", "hard", "link", "empty"},
	"bsd-gnutar": {"bsdtar", "--format", "gnutar", "-cf", "OUT", "-C", "root", "."},
}

// root makes a folder with one of each kind.
func root(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	r := filepath.Join(dir, "root")
	long := filepath.Join(r, strings.Repeat("d", 90), strings.Repeat("e", 90))
	check(t, os.MkdirAll(long, 0o755))
	check(t, os.WriteFile(filepath.Join(r, "file"), []byte("contents\n"), 0o755))
	check(t, os.WriteFile(filepath.Join(r, "empty"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(r, "blocks"), bytes.Repeat([]byte("0123456789abcdef"), 640), 0o644))
	check(t, os.WriteFile(filepath.Join(long, strings.Repeat("f", 40)), []byte("long"), 0o644))
	check(t, os.Link(filepath.Join(r, "file"), filepath.Join(r, "hard")))
	check(t, os.Symlink("file", filepath.Join(r, "link")))
	f, err := os.Create(filepath.Join(r, "sparse"))
	check(t, err)
	defer f.Close()
	for i := range 60 { // more than one old header of GNU has room for
		_, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i%26)}, 4096), int64(i)*16384+8192)
		check(t, err)
	}
	check(t, f.Truncate(2<<20+5))
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func made(t *testing.T, dir, name string) []byte {
	t.Helper()
	out := filepath.Join(dir, name+".tar")
	args := append([]string(nil), makers[name]...)
	for i, a := range args {
		if a == "OUT" {
			args[i] = out
		}
	}
	cmd := exec.Command(disktest.Tool(t, args[0]), args[1:]...)
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, b)
	}
	return disktest.Data(t, out)
}

// copied is the archive as it comes out, with a label for its files unless that is nil.
func copied(in []byte, label []byte) ([]byte, error) {
	var out bytes.Buffer
	r := NewReader(bufio.NewReader(bytes.NewReader(in)))
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			err := r.CopyEnd(&out)
			return out.Bytes(), err
		} else if err != nil {
			return nil, err
		}
		head := m.Head()
		if m.IsFile() && label != nil {
			if head, err = m.Labelled(label, false); err != nil {
				return nil, err
			}
		}
		out.Write(head)
		if _, err := io.Copy(&out, r); err != nil {
			return nil, err
		}
	}
}

// A seen is what a reader finds of one regular file.
type seen struct {
	name, contents, label string
}

// ours reads the files with this package, and of each no more than so many bytes.
func ours(in []byte, limit int64) (files []seen, err error) {
	r := NewReader(bytes.NewReader(in))
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, r.CopyEnd(io.Discard)
		} else if err != nil {
			return nil, err
		}
		if !m.IsFile() {
			continue
		}
		c, err := m.Contents(r)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(c, limit))
		if err != nil {
			return nil, err
		}
		label, err := m.Label()
		if err != nil {
			return nil, err
		}
		files = append(files, seen{m.Name, string(b), string(label)})
	}
}

// theirs reads the files with archive/tar.
func theirs(in []byte) (files []seen, err error) {
	r := tar.NewReader(bytes.NewReader(in))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		} else if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
			b, err := io.ReadAll(io.LimitReader(r, 16<<20))
			if err != nil {
				return nil, err
			}
			files = append(files, seen{h.Name, string(b), h.PAXRecords["SCHILY.xattr.security.ima"]})
		}
	}
}

// TestMakers copies what GNU tar and bsdtar make bit for bit, and finds in it, with labels
// and without, what archive/tar finds.
func TestMakers(t *testing.T) {
	dir := root(t)
	for name := range makers {
		t.Run(name, func(t *testing.T) {
			in := made(t, dir, name)
			if out, err := copied(in, nil); err != nil || !bytes.Equal(in, out) {
				t.Fatalf("the copy differs; %v", err)
			}
			if !RecognizeSaid(in) || Recognize(in) != (name != "v7" && name != "gnu-label") {
				t.Error("not recognized for what it is")
			}
			out, err := copied(in, value)
			check(t, err)
			agree(t, in, "")
			agree(t, out, string(value))
			// What has the label already does not change; with another one it does.
			if again, err := copied(out, value); err != nil || !bytes.Equal(again, out) {
				t.Errorf("labelled again it differs; %v", err)
			}
			other, err := copied(out, []byte("other"))
			check(t, err)
			agree(t, other, "other")
			if back, err := copied(other, value); err != nil || !bytes.Equal(back, out) {
				t.Errorf("labelled back it differs; %v", err)
			}
		})
	}
}

// agree compares with archive/tar; every file has this label.
func agree(t *testing.T, in []byte, label string) {
	t.Helper()
	got, err := ours(in, 16<<20)
	check(t, err)
	want, err := theirs(in)
	check(t, err)
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d files, archive/tar finds %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: archive/tar finds %s, or other contents (%d, %d bytes), or another label", got[i].name, want[i].name, len(got[i].contents), len(want[i].contents))
		}
		if got[i].label != label {
			t.Errorf("%s has label %q", got[i].name, got[i].label)
		}
	}
}

// TestOtherRecords: the records of a member stay where they are, and so does one of
// libarchive, with the same value.
func TestOtherRecords(t *testing.T) {
	records := func(values ...string) (b []byte) {
		for i := 0; i < len(values); i += 2 {
			b = append(b, newRecord(values[i], []byte(values[i+1])).raw...)
		}
		return b
	}
	const plain, encoded = "SCHILY.xattr.security.ima", "LIBARCHIVE.xattr.security.ima"
	for _, c := range []struct{ in, want []byte }{
		{records("comment", "x", "mtime", "1.5"), records("comment", "x", "mtime", "1.5", plain, "new")},
		{records(plain, "old", "unknown.key", "\x00=\n"), records(plain, "new", "unknown.key", "\x00=\n")},
		{records(plain, "old", "a", "b", plain, "older"), records(plain, "new", "a", "b")},
		{records(encoded, "b2xk", plain, "old"), records(encoded, "bmV3", plain, "new")},
		{records("LIBARCHIVE.xattr.security%2Eima", "b2xk"), records("LIBARCHIVE.xattr.security%2Eima", "bmV3", plain, "new")},
		{records("SCHILY.xattr.security.evm", "e", "b", "c"), records("b", "c", plain, "new")},
		{records("SCHILY.xattr.security.imagine", "e"), records("SCHILY.xattr.security.imagine", "e", plain, "new")},
	} {
		in := archiveOf(member{typeflag: 'x', data: c.in}, member{name: "f", typeflag: '0', data: []byte("data")})
		m, err := NewReader(bytes.NewReader(in)).Next()
		check(t, err)
		out, err := m.Labelled([]byte("new"), true)
		check(t, err)
		want := archiveOf(member{typeflag: 'x', data: c.want}, member{name: "f", typeflag: '0', data: []byte("data")})
		if !bytes.HasPrefix(want, out) {
			t.Errorf("%q becomes %q", c.in, out)
		}
	}
}

// A member is one that a test puts together.
type member struct {
	name, link string
	typeflag   byte
	magic      string // ustarMagic if empty
	data       []byte
	size       int // that the header says, if it is not that of the data
	change     func(block)
}

func archiveOf(members ...member) (out []byte) {
	for _, m := range members {
		b := make(block, BlockSize)
		copy(b[0:100], m.name)
		copy(b.mode(), "0000644\x00")
		copy(b.uid(), "0000000\x00")
		copy(b.gid(), "0000000\x00")
		copy(b.mtime(), "00000000000\x00")
		size := len(m.data)
		if m.size != 0 {
			size = m.size
		}
		b.setSize(size)
		b[156] = m.typeflag
		copy(b[157:257], m.link)
		copy(b[257:], ustarMagic)
		if m.magic != "" {
			copy(b[257:], m.magic)
		}
		if m.change != nil {
			m.change(b)
		}
		b.seal()
		out = append(append(out, b...), m.data...)
		out = append(out, make([]byte, padding(int64(len(m.data))))...)
	}
	return append(out, make([]byte, 2*BlockSize)...)
}

// TestRefused has one archive for each refusal and error.
func TestRefused(t *testing.T) {
	file := member{name: "f", typeflag: '0', data: []byte("data")}
	pax := func(records ...string) member {
		m := member{name: "PaxHeaders/f", typeflag: 'x'}
		for i := 0; i < len(records); i += 2 {
			m.data = append(m.data, newRecord(records[i], []byte(records[i+1])).raw...)
		}
		return m
	}
	global := func(key string) member {
		m := pax(key, "1")
		m.typeflag = 'g'
		return m
	}
	sparse := func(fields string) member {
		return member{name: "f", typeflag: 'S', magic: gnuMagic, data: make([]byte, 512), change: func(b block) {
			copy(b[386:], fields)
			copy(b[483:], "00000002000\x00")
		}}
	}
	const zero, full, half = "00000000000\x00", "00000001000\x00", "00000000400\x00"
	whole := archiveOf(file)
	bad := bytes.Clone(whole)
	bad[0]++
	for want, in := range map[string][]byte{
		"wrong checksum":                   bad,
		"ends within a member":             whole[:BlockSize+2],
		"archive ends within":              whole[:BlockSize-1],
		"two extended headers":             archiveOf(pax("a", "b"), pax("c", "d"), file),
		"record without a key ":            archiveOf(pax("a\x00b", "c"), file),
		"sparse file of pax, but":          archiveOf(pax("GNU.sparse.size", "4", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,4"), member{name: "f", typeflag: '0', data: []byte("data"), magic: gnuMagic}),
		"two long names":                   archiveOf(member{typeflag: 'L', data: []byte("a\x00")}, member{typeflag: 'L', data: []byte("b\x00")}, file),
		"global header stands between":     archiveOf(pax("a", "b"), global("comment"), file),
		`"size", which readers apply`:      archiveOf(global("size"), file),
		`"SCHILY.xattr.security.ima", wh`:  archiveOf(global("SCHILY.xattr.security.ima"), file),
		"record whose length is wrong":     archiveOf(member{typeflag: 'x', data: []byte("9 a=b\n")}, file),
		"record without a key":             archiveOf(member{typeflag: 'x', data: []byte("5 =b\n")}, file),
		"more than 1048576":                archiveOf(member{typeflag: 'x', size: 1<<20 + 1}, file),
		"more than 65536":                  archiveOf(member{typeflag: 'L', size: 64<<10 + 1}, file),
		"do not agree whether data follow": archiveOf(member{name: "l", link: "f", typeflag: '1', size: 9}, file),
		"leads to nothing":                 archiveOf(member{name: "l", typeflag: '2'}),
		"has the fields of one":            archiveOf(member{name: "f", typeflag: '0', magic: gnuMagic, change: func(b block) { copy(b[483:], "0") }}),
		`its type is 'Z'`:                  archiveOf(member{name: "f", typeflag: 'Z'}),
		"in another volume":                archiveOf(member{name: "f", typeflag: 'M'}),
		"not one of GNU tar":               archiveOf(member{name: "f", typeflag: 'S'}),
		"sparse file of star":              archiveOf(pax("SCHILY.realsize", "9"), file),
		"its sparse format is 2.0":         archiveOf(pax("GNU.sparse.major", "2", "GNU.sparse.minor", "0", "GNU.sparse.size", "4"), file),
		"two maps of holes":                archiveOf(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "4", "GNU.sparse.map", "0,4"), file),
		"two maps of holes ":               archiveOf(pax("GNU.sparse.size", "4", "GNU.sparse.offset", "0", "GNU.sparse.numbytes", "4", "GNU.sparse.map", "0,4"), file),
		`"GNU.sparse.realsize" of another`: archiveOf(pax("GNU.sparse.size", "4", "GNU.sparse.realsize", "4"), file),
		`record "GNU.sparse.size" twice`:   archiveOf(pax("GNU.sparse.size", "4", "GNU.sparse.size", "5"), file),
		`record "GNU.sparse.new" is not`:   archiveOf(pax("GNU.sparse.new", "4"), file),
		"of type '5' has a map":            archiveOf(pax("GNU.sparse.size", "0", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,0"), member{name: "d", typeflag: '5'}),
		"map of holes is damaged":          archiveOf(pax("GNU.sparse.size", "3", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,4"), file),
		"map of holes is damaged ":         archiveOf(pax("GNU.sparse.size", "9", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,4,2,1"), file),
		"map of holes is damaged   ":       archiveOf(pax("GNU.sparse.size", "9", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,4"), file),
		"map of holes is damaged  ":        archiveOf(sparse(zero + half)),
		"ends within a block":              archiveOf(sparse(zero + half + full + half)),
		"zero byte":                        archiveOf(pax("path", "a\x00b"), file),
		"not an octal number":              archiveOf(member{name: "f", typeflag: '0', change: func(b block) { copy(b.size(), "00000x") }}),
		"negative or too large":            archiveOf(member{name: "f", typeflag: '0', change: func(b block) { copy(b.size(), bytes.Repeat([]byte{0xff}, 12)) }}),
		"than a file can have":             archiveOf(pax("size", "9223372036854775807"), file),
		`"-1" is not a decimal`:            archiveOf(pax("size", "-1"), file),
		"begins like an empty archive":     append(make([]byte, 1024), "disk"...),
		"behind the end of the archive":    append(bytes.Clone(whole), whole...),
	} {
		want = strings.TrimSpace(want)
		_, err := copied(in, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestEnd: what stands behind the last member stays as it is, and need not be there.
func TestEnd(t *testing.T) {
	whole := archiveOf(member{name: "f", typeflag: '0', data: []byte("data")})
	bare := whole[:len(whole)-2*BlockSize]
	for name, end := range map[string][]byte{
		"none": nil, "one block": make([]byte, 512), "part of a block": append(make([]byte, 512), 0, 0, 0),
		"a record": make([]byte, 10240), "garbage": append(make([]byte, 1024), "garbage"...),
		"blocks of it": append(make([]byte, 1024), bytes.Repeat([]byte("garbage!"), 200)...),
	} {
		in := append(bytes.Clone(bare), end...)
		if out, err := copied(in, nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("%s: %d bytes become %d; %v", name, len(in), len(out), err)
		}
	}
}

// TestKinds tells which members are files, and what they are called.
func TestKinds(t *testing.T) {
	prefixed := func(b block) { copy(b[345:], "usr/share") }
	star := func(b block) {
		copy(b[345:], strings.Repeat("x", 131)) // what follows are times
		copy(b[476:], "12345670000 12345670000 ")
		copy(b[508:], starEnd)
	}
	for _, c := range []struct {
		m    member
		file bool
		path string
	}{
		{member{name: "./a/../b", typeflag: '0'}, true, "/b"},
		{member{name: "../../b", typeflag: 0}, true, "/b"},
		{member{name: "/abs", typeflag: '7'}, true, "/abs"},
		{member{name: "dir/", typeflag: 0}, false, "/dir"},
		{member{name: "dir/", typeflag: '5'}, false, "/dir"},
		{member{name: "l", link: "f", typeflag: '1'}, false, "/l"},
		{member{name: "null", typeflag: '3'}, false, "/null"},
		{member{name: "volume", typeflag: 'V'}, false, "/volume"},
		{member{name: "doc", typeflag: '0', change: prefixed}, true, "/usr/share/doc"},
		{member{name: "doc", typeflag: '0', magic: gnuMagic, change: prefixed}, true, "/doc"},
		{member{name: "f", typeflag: '0', change: star}, true, "/" + strings.Repeat("x", 131) + "/f"},
	} {
		m, err := NewReader(bytes.NewReader(archiveOf(c.m))).Next()
		check(t, err)
		if m.IsFile() != c.file || m.Path() != c.path {
			t.Errorf("%q of type %q: %s, file: %v", c.m.name, c.m.typeflag, m.Path(), m.IsFile())
		}
	}
}

// TestLabels: the two kinds of records have to agree.
func TestLabels(t *testing.T) {
	for _, c := range []struct {
		records []string
		want    string
		wrong   bool
	}{
		{nil, "", false},
		{[]string{"SCHILY.xattr.security.ima", ""}, "", false},
		{[]string{"SCHILY.xattr.security.ima", "old"}, "old", false},
		{[]string{"SCHILY.xattr.security.ima", "x", "SCHILY.xattr.security.ima", "old"}, "old", false},
		{[]string{"SCHILY.xattr.security.ima", "old", "LIBARCHIVE.xattr.security.ima", "b2xk"}, "old", false},
		{[]string{"SCHILY.xattr.security.ima", "old", "LIBARCHIVE.xattr.security%2eima", "b2xk"}, "old", false},
		{[]string{"SCHILY.xattr.security.ima", "old", "LIBARCHIVE.xattr.security.ima", "bmV3"}, "", true},
		{[]string{"SCHILY.xattr.security.ima", "old", "LIBARCHIVE.xattr.security.ima", "*"}, "", true},
		{[]string{"LIBARCHIVE.xattr.security.ima", "bmV3"}, "", true},
	} {
		var data []byte
		for i := 0; i < len(c.records); i += 2 {
			data = append(data, newRecord(c.records[i], []byte(c.records[i+1])).raw...)
		}
		m, err := NewReader(bytes.NewReader(archiveOf(member{typeflag: 'x', data: data}, member{name: "f", typeflag: '0'}))).Next()
		check(t, err)
		label, err := m.Label()
		if string(label) != c.want || (err != nil) != c.wrong {
			t.Errorf("%q: %q, %v", c.records, label, err)
		}
	}
}
