package stream

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
)

// newKey makes a key, and the store that trusts it.
func newKey(t testing.TB) (signer.Options, *keys.TrustStore) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p, err := keys.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	store, err := keys.NewTrustStore(p)
	if err != nil {
		t.Fatal(err)
	}
	return signer.Options{Key: key, KeyID: p.ID, Hash: ima.SHA256}, store
}

// A file is a member of a test's archive.
type file struct {
	name, contents string
	link           string
	records        map[string]string
}

func archiveOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.contents)), Mode: 0o644, PAXRecords: f.records}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.contents); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sign(t testing.TB, in []byte, o SignOptions) ([]byte, *signer.Report, error) {
	t.Helper()
	var out bytes.Buffer
	r, err := Sign(t.Context(), bytes.NewReader(in), &out, o)
	return out.Bytes(), r, err
}

// verdicts verifies an archive and tells what is not valid.
func verdicts(t testing.TB, in []byte, store *keys.TrustStore, o VerifyOptions) (*signer.VerifyReport, []string) {
	t.Helper()
	var bad []string
	o.Result = func(f *signer.Finding) error {
		if !f.OK() {
			bad = append(bad, fmt.Sprintf("%s: %v %s", f.File.Name(), f.Verdict, f.Reason))
		}
		return nil
	}
	r, err := Verify(t.Context(), bytes.NewReader(in), store, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, bad
}

// TestSign signs, once for each contents, what is then valid, and no byte changes when it is
// signed again. How many work on it makes no difference.
func TestSign(t *testing.T) {
	o, store := newKey(t)
	files := []file{{name: "empty"}, {name: "large", contents: strings.Repeat("large", 200<<10)}}
	for i := range 100 {
		files = append(files, file{name: fmt.Sprintf("d/%d", i), contents: fmt.Sprint(i / 2)})
	}
	files = append(files, file{name: "hard", link: "large"}, file{name: "d/7", contents: "again"})
	in := archiveOf(t, files...)
	var first []byte
	for _, jobs := range []int{1, 2, 16} {
		o.Jobs = jobs
		out, r, err := sign(t, in, SignOptions{Options: o})
		if err != nil || r.Files != 103 || r.Signed != 103 || r.Signatures > 103 || r.Signatures < 53 {
			t.Fatalf("%+v, %v", r, err)
		}
		if jobs == 1 {
			first = out
		} else if !bytes.Equal(first, out) {
			t.Errorf("other bytes with %d jobs", jobs)
		}
	}
	if r, bad := verdicts(t, first, store, VerifyOptions{}); r.Valid != 103 || len(bad) > 0 {
		t.Errorf("%+v, %v", r, bad)
	}
	again, r, err := sign(t, first, SignOptions{Options: o})
	if err != nil || r.Kept != 103 || !bytes.Equal(first, again) {
		t.Errorf("%+v, %v", r, err)
	}
	if i := bytes.Index(first, []byte("large")); i < 0 {
		t.Fatal("no contents")
	}
	spoilt := bytes.Clone(first)
	spoilt[bytes.Index(spoilt, []byte("largelarge"))]++
	if _, bad := verdicts(t, spoilt, store, VerifyOptions{}); len(bad) != 1 || bad[0] != "/large: invalid content-changed" {
		t.Errorf("%v", bad)
	}
	if r, bad := verdicts(t, in, store, VerifyOptions{Only: func(p string) bool { return p == "/d/7" }}); r.Unsigned != 2 {
		t.Errorf("%+v, %v", r, bad)
	}
}

// TestReuse counts what an earlier build gave, and not what came twice.
func TestReuse(t *testing.T) {
	o, _ := newKey(t)
	in := archiveOf(t, file{name: "a", contents: "same"}, file{name: "b", contents: "same"}, file{name: "c", contents: "other"})
	o.Jobs = 1
	c := &cache{labels: map[string][]byte{}}
	first, r, err := sign(t, in, SignOptions{Options: o, Result: func(r *signer.Report) error {
		rec := &r.Records[0]
		if rec.File.Name() == "/a" {
			c.learn(rec.Digest, rec.Value)
		}
		return nil
	}})
	if err != nil || r.Signed != 3 || r.Signatures != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	o.Reuse = c
	second, r, err := sign(t, in, SignOptions{Options: o})
	if err != nil || r.Signed != 1 || r.Reused != 2 || r.Signatures != 1 || !bytes.Equal(first, second) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCacheForgets: the cache has a bound.
func TestCacheForgets(t *testing.T) {
	c := &cache{labels: map[string][]byte{}}
	for i := range cached + 10 {
		c.learn(fmt.Appendf(nil, "%d", i), []byte("v"))
	}
	if _, ok := c.own([]byte("9")); ok || len(c.labels) != cached || len(c.order) != cached {
		t.Errorf("%d labels", len(c.labels))
	}
	if _, ok := c.own([]byte("10")); !ok {
		t.Error("forgot too much")
	}
}

// TestActions hashes, skips, and reports what must not be signed.
func TestActions(t *testing.T) {
	o, store := newKey(t)
	id, err := ima.FileID(ima.SHA256, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	in := archiveOf(t, file{name: "sign", contents: "1"}, file{name: "hash", contents: "2"}, file{name: "skip", contents: "3"},
		file{name: "id", contents: string(id)}, file{name: "hard", link: "hash"})
	o.Action = func(paths []string) signer.Action {
		action := signer.ActionSkip
		for _, p := range paths {
			switch p {
			case "/sign", "/id":
				action = signer.ActionSign
			case "/hash", "/hard":
				action = max(action, signer.ActionHash)
			}
		}
		return action
	}
	var failures []signer.Failure
	opt := SignOptions{Options: o, Result: func(r *signer.Report) error {
		failures = append(failures, r.Failures...)
		return nil
	}}
	out, r, err := sign(t, in, opt)
	if err != nil || r.Signed != 1 || r.Hashed != 1 || r.Skipped != 1 || r.Failed != 1 || len(failures) != 1 || !errors.Is(failures[0], signer.ErrFileID) {
		t.Fatalf("%+v, %v, %v", r, failures, err)
	}
	var v VerifyOptions
	v.Action = o.Action
	if r, bad := verdicts(t, out, store, v); r.Valid != 1 || r.DigestOnly != 1 || r.Ignored != 1 || r.Unsigned != 1 {
		t.Errorf("%+v, %v", r, bad)
	}
	// Under its other name the file wants more than it has got.
	opt.Action = func(paths []string) signer.Action {
		if strings.Contains(strings.Join(paths, " "), "hard") {
			return signer.ActionSign
		}
		return o.Action(paths)
	}
	if _, _, err := sign(t, in, opt); err == nil || !strings.Contains(err.Error(), "the rules say sign for /hard") {
		t.Errorf("%v", err)
	}
}

// TestAttributes: security.evm is in the way, and libarchive's record has to agree.
func TestAttributes(t *testing.T) {
	o, store := newKey(t)
	evm := archiveOf(t, file{name: "f", contents: "1", records: map[string]string{"SCHILY.xattr.security.evm": "\x02hmac"}})
	for _, dry := range []bool{false, true} {
		o.DryRun = dry
		if _, _, err := sign(t, evm, SignOptions{Options: o}); !errors.Is(err, fsys.ErrEVM) {
			t.Errorf("%v", err)
		}
	}
	o.DryRun = false
	out, _, err := sign(t, evm, SignOptions{Options: o, DropEVM: true})
	if err != nil || bytes.Contains(out, []byte("security.evm")) {
		t.Errorf("it is still there, or %v", err)
	}
	// The value that is right for one reader is kept, and the other gets it, too.
	signed, _, err := sign(t, archiveOf(t, file{name: "f", contents: "1"}), SignOptions{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(bytes.NewReader(signed))
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{"SCHILY.xattr.security.ima": h.PAXRecords["SCHILY.xattr.security.ima"], "LIBARCHIVE.xattr.security.ima": "AAAA"}
	differs := archiveOf(t, file{name: "f", contents: "1", records: records})
	if report, bad := verdicts(t, differs, store, VerifyOptions{}); report.Unreadable != 1 {
		t.Errorf("%+v, %v", report, bad)
	}
	out, report, err := sign(t, differs, SignOptions{Options: o})
	if err != nil || report.Kept != 1 || bytes.Equal(out, differs) {
		t.Errorf("%+v, %v", report, err)
	}
	if report, bad := verdicts(t, out, store, VerifyOptions{}); report.Valid != 1 {
		t.Errorf("%+v, %v", report, bad)
	}
}

// TestSparseBound: holes that nobody meant to be read.
func TestSparseBound(t *testing.T) {
	o, store := newKey(t)
	for size, tooMuch := range map[int64]bool{1 << 20: false, 2 << 30: true, 1 << 60: true} {
		in := sparse(t, size)
		_, _, err := sign(t, in, SignOptions{Options: o})
		if _, ok := errors.AsType[*SparseError](err); ok != tooMuch || err != nil && !ok {
			t.Errorf("%d bytes: %v", size, err)
		}
		_, err = Verify(t.Context(), bytes.NewReader(in), store, VerifyOptions{})
		if _, ok := errors.AsType[*SparseError](err); ok != tooMuch || err != nil && !ok {
			t.Errorf("%d bytes: %v", size, err)
		}
		o.Action = func([]string) signer.Action { return signer.ActionSkip }
		if _, _, err := sign(t, in, SignOptions{Options: o}); err != nil {
			t.Errorf("%d bytes, skipped: %v", size, err)
		}
		o.Action = nil
	}
}

// sparse makes an archive of a file that is one hole. archive/tar writes none, but it writes
// an extended header of another key, which is as long.
func sparse(t *testing.T, size int64) []byte {
	t.Helper()
	digits := fmt.Sprintf("%019d", size)
	in := archiveOf(t, file{name: "f", records: map[string]string{"my_.sparse.map": "0,0", "my_.sparse.size": digits, "my_.sparse.numblocks": "1"}})
	out := bytes.ReplaceAll(in, []byte("my_.sparse."), []byte("GNU.sparse."))
	if bytes.Equal(in, out) {
		t.Fatal("no records")
	}
	return out
}

// TestConstantMemory reads archives that do not end for a while: many members, and a large
// one.
func TestConstantMemory(t *testing.T) {
	o, _ := newKey(t)
	o.Action = func([]string) signer.Action { return signer.ActionHash }
	const limit = 24 << 20
	for name, in := range map[string]io.Reader{"many": many(20_000), "large": large(64 << 20)} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			n, most := 0, uint64(0)
			look := func() {
				if n++; n%500 == 1 {
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc)
				}
			}
			r, err := Sign(t.Context(), in, watched{look}, SignOptions{Options: o})
			if err != nil || r.Hashed == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if grown := int64(most) - int64(before.HeapAlloc); grown > limit {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

type watched struct{ look func() }

func (w watched) Write(p []byte) (int, error) {
	w.look()
	return len(p), nil
}

func many(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		for i := range n {
			t.WriteHeader(&tar.Header{Name: fmt.Sprintf("some/folder/%d", i), Size: 4000})
			fmt.Fprintf(t, "%4000d", i)
		}
		w.CloseWithError(t.Close())
	}()
	return r
}

func large(size int64) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		t.WriteHeader(&tar.Header{Name: "large", Size: size})
		io.CopyN(t, zeros{}, size)
		w.CloseWithError(t.Close())
	}()
	return r
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestNoRoom: a spool that cannot grow is an error, and leaves nothing behind.
func TestNoRoom(t *testing.T) {
	o, _ := newKey(t)
	t.Setenv("TMPDIR", t.TempDir()+"/missing")
	_, err := Sign(t.Context(), large(1<<20), io.Discard, SignOptions{Options: o})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/large") {
		t.Errorf("%v", err)
	}
}

// TestDamaged ends with an error where the archive does, whoever waits for what.
func TestDamaged(t *testing.T) {
	o, store := newKey(t)
	whole := archiveOf(t, file{name: "a", contents: strings.Repeat("x", 3000)}, file{name: "b", contents: strings.Repeat("y", 3000)})
	for _, n := range []int{100, 512, 1000, 4096, 4500, 6000} {
		_, errSign := Sign(t.Context(), bytes.NewReader(whole[:n]), io.Discard, SignOptions{Options: o})
		_, errVerify := Verify(t.Context(), bytes.NewReader(whole[:n]), store, VerifyOptions{})
		if cut := n != 3584 && n != 512; (errSign == nil || errVerify == nil) && cut {
			t.Errorf("%d bytes: %v, %v", n, errSign, errVerify)
		}
	}
	boom := errors.New("boom")
	if _, err := Sign(t.Context(), bytes.NewReader(whole), failing{boom}, SignOptions{Options: o}); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if _, _, err := sign(t, whole, SignOptions{Options: o, Ended: func() error { return boom }}); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestNames has what is there once an archive is unpacked.
func TestNames(t *testing.T) {
	o, _ := newKey(t)
	in := archiveOf(t, file{name: "a", contents: "1"}, file{name: "b", link: "a"}, file{name: "c", contents: "2"},
		file{name: "a", contents: "3"}, file{name: "d", link: "missing"}, file{name: "c/"})
	var names Names[string]
	_, _, err := sign(t, in, SignOptions{Options: o, Other: names.Other, Result: func(r *signer.Report) error {
		names.Add(r.Records[0].File, "")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range names.Files() {
		got = append(got, fmt.Sprintf("%v %d %d", f.File.Paths, f.File.Links, f.File.Size))
	}
	if want := "[/b] 1 1 [/a] 1 1"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
