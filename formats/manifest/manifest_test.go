package manifest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/escape"
	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/volume"
)

var header = Header{
	Format:      Format,
	Tool:        "imagetool 1.0 <test> & more",
	ImageBefore: strings.Repeat("ab", 32),
	ImageAfter:  strings.Repeat("cd", 32),
	KeyID:       "c169a8fa",
	Hash:        "sha256",
	Filesystems: []Filesystem{{"1", "6dfb1a1e-6c0c-4f9a-9c3b-0b9d8f1d9b11"}, {"vg/root", ""}},
	Entries:     5,
}

func hexValue(t testing.TB, v ima.Value) string {
	t.Helper()
	b, err := v.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// entries returns entries in order, one of each kind.
func entries(t testing.TB) []Entry {
	digest := bytes.Repeat([]byte{0x5a}, 32)
	d := hex.EncodeToString(digest)
	sig := hexValue(t, ima.SignatureV2(ima.SHA256, ima.KeyID{0xc1, 0x69, 0xa8, 0xfa}, bytes.Repeat([]byte{7}, 256)))
	return []Entry{
		{0, "/bin/%41", 12, 100, 0o100755, 0, 0, 2, d, LabelSignature, "c169a8fa", sig},
		{0, "/bin/new\nline \"quoted\" \u2028 <&>", 12, 100, 0o100755, 0, 0, 2, d, LabelSignature, "c169a8fa", sig},
		{0, "/bin/\xff\xfe\xc3", math.MaxUint64, math.MaxInt64, math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32, d, LabelNone, "", ""},
		{1, "/bin/%41", 12, 0, 0o100600, 1000, 100, 1, d, LabelDigest, "", hexValue(t, ima.DigestValue(ima.SHA256, digest))},
		{1, "/skipped", 13, 0, 0o100600, 1000, 100, 1, "", LabelNone, "", ""},
	}
}

func write(t testing.TB, h Header, es []Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	h.Entries = len(es)
	w, err := NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(text []byte) (Header, []Entry, error) {
	r, err := NewReader(bytes.NewReader(text))
	if err != nil {
		return Header{}, nil, err
	}
	var es []Entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Header(), es, nil
		}
		if err != nil {
			return Header{}, nil, err
		}
		es = append(es, e)
	}
}

func TestRoundTrip(t *testing.T) {
	want := entries(t)
	text := write(t, header, want)
	h, es, err := readAll(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, header) || !reflect.DeepEqual(es, want) {
		t.Errorf("read back:\n%+v\n%+v\nwant:\n%+v\n%+v", h, es, header, want)
	}
	if again := write(t, h, es); !bytes.Equal(again, text) {
		t.Errorf("written again:\n%s\nwant:\n%s", again, text)
	}
}

// TestText checks the exact bytes: a manifest must not change between versions of the program or of
// encoding/json.
func TestText(t *testing.T) {
	h := Header{Tool: "t", Hash: "sha512", Filesystems: []Filesystem{{volume.WholeDisk, "x"}}}
	got := write(t, h, []Entry{{0, "/a\xff%\u00e9<\x01", 1, 2, 3, 4, 5, 6, "", LabelNone, "", ""}})
	const want = `{"vmseal_manifest":1,"tool":"t","image_before":"","image_after":"","key_id":"","hash":"sha512","filesystems":[{"partition":0,"uuid":"x"}],"entries":1}
{"filesystem":0,"path":"/a%FF%25é<\u0001","inode":1,"size":2,"mode":3,"uid":4,"gid":5,"links":6,"digest":"","label":"none","key_id":"","value":""}
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEscape(t *testing.T) {
	for raw, want := range map[string]string{
		"":               "",
		"/bin/sh":        "/bin/sh",
		"100%":           "100%25",
		"\xff":           "%FF",
		"a\xc3":          "a%C3",
		"\xed\xa0\x80":   "%ED%A0%80", // a surrogate is not UTF-8
		"\ufffd":         "\ufffd",    // the replacement character itself is
		"\xc0\xaf":       "%C0%AF",    // overlong
		"é\xe2\x82€\xac": "é%E2%82€%AC",
	} {
		got := escape.Path(raw)
		if got != want {
			t.Errorf("escape.Path(%q) = %q, want %q", raw, got, want)
		}
		if back, err := unescape(got); err != nil || back != raw {
			t.Errorf("unescape(%q) = %q, %v, want %q", got, back, err, raw)
		}
	}
	for _, bad := range []string{"%", "%2", "%2g", "%ff", "%41", "%C3%A9", "a%00"} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("unescape(%q) = %q, want an error", bad, got)
		}
	}
}

// TestReaderRefuses changes one thing in a good manifest.
func TestReaderRefuses(t *testing.T) {
	good := string(write(t, header, entries(t)))
	lines := strings.SplitAfter(good, "\n")
	swap := func(i, j int) string {
		l := slices.Clone(lines)
		l[i], l[j] = l[j], l[i]
		return strings.Join(l, "")
	}
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the manifest", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":             {"", "no header"},
		"no header":           {strings.Join(lines[1:], ""), "unknown field"},
		"header twice":        {lines[0] + good, "unknown field"},
		"other format":        {replace(`"vmseal_manifest":1`, `"vmseal_manifest":2`), "format 2"},
		"format 0":            {replace(`"vmseal_manifest":1`, `"vmseal_manifest":0`), "format 0"},
		"unknown header":      {replace(`"tool"`, `"new":1,"tool"`), "unknown field"},
		"field in other case": {replace(`"tool"`, `"Tool"`), "canonical"},
		"header hash":         {replace(`"hash":"sha256"`, `"hash":"sha1"`), "sha1"},
		"header hash unknown": {replace(`"hash":"sha256"`, `"hash":"x"`), "unknown hash"},
		"header key id":       {replace(`"key_id":"c169a8fa"`, `"key_id":"C169A8FA"`), "key id"},
		"image digest":        {replace(`"image_before":"ab`, `"image_before":"aB`), "image_before"},
		"partition":           {replace(`"partition":1`, `"partition":-1`), "partition"},
		"partition as text":   {replace(`"partition":1`, `"partition":"1"`), "name of a volume"},
		"volume":              {replace(`"vg/root"`, `"vg/ro:ot"`), "logical volume"},
		"volume escaped":      {replace(`"vg/root"`, `"vg\u002froot"`), "canonical"},
		"uuid":                {replace(`"uuid":""`, `"uuid":"a b"`), "uuid"},
		"no file systems":     {replace(header.Filesystems[0].UUID+`"},{"partition":"vg/root","uuid":""}]`, header.Filesystems[0].UUID+`"}]`), "file system 1"},
		"unknown field":       {replace(`"inode"`, `"new":1,"inode"`), "unknown field"},
		"missing field":       {replace(`"inode":12,`, ``), "canonical"},
		"doubled field":       {replace(`"inode":12,`, `"inode":12,"inode":12,`), "canonical"},
		"field order":         {replace(`"uid":0,"gid":0`, `"gid":0,"uid":0`), "canonical"},
		"space":               {replace(`"uid":0`, `"uid": 0`), "canonical"},
		"null":                {replace(`"uid":0`, `"uid":null`), "canonical"},
		"number form":         {replace(`"size":100`, `"size":1e2`), ""},
		"negative size":       {replace(`"size":100`, `"size":-1`), "size -1"},
		"too large":           {replace(`"uid":0`, `"uid":4294967296`), ""},
		"other escape":        {replace(`"/bin/%2541"`, `"/bin/\u00252541"`), ""},
		"raw bytes":           {replace(`%FF`, "\xff"), "canonical"},
		"path escape":         {replace(`%2541`, `%41`), "not needed"},
		"relative path":       {replace(`"/bin/%2541"`, `"bin/%2541"`), "slash"},
		"dot dot":             {replace(`"/bin/%2541"`, `"/bin/../%2541"`), `".."`},
		"dot":                 {replace(`"/bin/%2541"`, `"/./%2541"`), `"."`},
		"double slash":        {replace(`"/bin/%2541"`, `"/bin//%2541"`), `""`},
		"root":                {replace(`"/bin/%2541"`, `"/"`), `""`},
		"zero byte":           {replace(`"/bin/%2541"`, `"/bin/\u0000"`), "zero byte"},
		"label":               {replace(`"label":"signature"`, `"label":"digest"`), "does not fit"},
		"label unknown":       {replace(`"label":"signature"`, `"label":"other"`), "does not fit"},
		"label none":          {replace(`"label":"signature"`, `"label":"none"`), `the label is "none"`},
		"no value":            {replace(`"value":"0302`, `"value":"","x":"0302`), "unknown field"},
		"digest missing":      {replace(`"digest":"`+strings.Repeat("5a", 32)+`"`, `"digest":""`), "without a digest"},
		"digest short":        {replace(`"digest":"5a`, `"digest":"`), "digest"},
		"digest not hex":      {replace(`"digest":"5a`, `"digest":"5g`), "digest"},
		"digest differs":      {replace(`"0404`+"5a", `"0404`+"5b"), "another digest"},
		"value hash":          {replace(`"value":"030204`, `"value":"030205`), "sha384"},
		"value upper case":    {replace(`"value":"030204c169a8fa`, `"value":"030204C169A8FA`), "lower-case"},
		"value key id":        {replace(`"value":"030204c169a8fa`, `"value":"030204c169a8fb`), "key id"},
		"value length":        {replace(`"value":"030204c169a8fa0100`, `"value":"030204c169a8fa0101`), "length"},
		"file system":         {replace(`{"filesystem":1,"path":"/skipped"`, `{"filesystem":2,"path":"/skipped"`), "file system 2"},
		"order":               {swap(1, 2), "does not come after"},
		"order across":        {swap(3, 4), "does not come after"},
		"twice":               {lines[0] + lines[1] + lines[1], "does not come after"},
		"no newline":          {strings.TrimSuffix(good, "\n"), "no newline"},
		"empty line":          {good + "\n", "empty line"},
		"trailing":            {good + "x\n", "invalid"},
		"two on a line":       {replace("}\n{", "}{"), "canonical"},
		"carriage return":     {strings.ReplaceAll(good, "\n", "\r\n"), "canonical"},
		"long line":           {good + strings.Repeat(" ", MaxLine+1) + "\n", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readAll([]byte(tt.text))
			if err == nil {
				t.Fatal("the reader accepts it")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "manifest line ") {
				t.Errorf("error %q does not name %q and the line", err, tt.want)
			}
		})
	}
}

// TestReaderLine: an error names the line, and further calls return it again.
func TestReaderLine(t *testing.T) {
	text := append(write(t, header, entries(t)), "x\n"...)
	r, err := NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for range entries(t) {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := r.Next(); err == nil || !strings.HasPrefix(err.Error(), "manifest line 7: ") {
			t.Errorf("error %v, want one about line 7", err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	if _, err := NewWriter(io.Discard, Header{Hash: "sha256"}); err == nil {
		t.Error("a header without file systems is accepted")
	}
	if _, err := NewWriter(io.Discard, Header{Format: 2, Hash: "sha256", Filesystems: header.Filesystems}); err == nil {
		t.Error("a header of another format is accepted")
	}
	es := entries(t)
	long := es[0]
	long.Path = "/" + strings.Repeat("\x01", MaxLine/6)
	for name, pair := range map[string][]Entry{
		"order": {es[1], es[0]}, "twice": {es[0], es[0]}, "long": {long},
		"bad": {{Path: "relative", Label: LabelNone}},
	} {
		var b bytes.Buffer
		w, err := NewWriter(&b, header)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range pair {
			if err := w.Write(e); (err != nil) != (i == len(pair)-1) {
				t.Errorf("%s: entry %d: %v", name, i, err)
			}
		}
		if err := w.Close(); err == nil {
			t.Errorf("%s: Close forgets the error", name)
		}
	}
	if w, err := NewWriter(io.Discard, header); err != nil {
		t.Fatal(err)
	} else if w.Close() == nil {
		t.Error("Close does not notice that entries are missing")
	}
	empty := header
	empty.Entries = 0
	w, err := NewWriter(io.Discard, empty)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Write(es[0]) == nil || w.Close() == nil {
		t.Error("a closed writer accepts entries")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }

func TestWriterError(t *testing.T) {
	empty := header
	empty.Entries = 0
	w, err := NewWriter(brokenPipe{}, empty)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || err.Error() != "broken pipe" {
		t.Errorf("Close gives %v", err)
	}
}

func FuzzReader(f *testing.F) {
	good := write(f, header, entries(f))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(bytes.Replace(good, []byte("%FF"), []byte("%ff"), 1))
	f.Add(write(f, header, nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, es, err := readAll(text)
		if err != nil {
			return
		}
		if again := write(t, h, es); !bytes.Equal(again, text) {
			t.Fatalf("written again:\n%s\nwas read:\n%s", again, text)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, e := range entries(f) {
		f.Add(e.Path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if back, err := unescape(escape.Path(path)); err != nil || back != path {
			t.Fatalf("unescape(escape(%q)) = %q, %v", path, back, err)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	e := entries(b)[0]
	var es []Entry
	for i := range 1000 {
		e.Path = fmt.Sprintf("/usr/share/doc/package/file-%04d", i)
		es = append(es, e)
	}
	text := write(b, header, es)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, _, err := readAll(text); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCutBetweenLines removes whole lines at the end.
func TestCutBetweenLines(t *testing.T) {
	text := write(t, header, entries(t))
	for n := bytes.LastIndexByte(text[:len(text)-1], '\n'); n > 0; n = bytes.LastIndexByte(text[:n], '\n') {
		if _, _, err := readAll(text[:n+1]); err == nil || !strings.Contains(err.Error(), "ends after") {
			t.Errorf("cut after %d bytes: %v", n+1, err)
		}
	}
}
