package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
)

// value makes a label with the standard library alone.
func value(t testing.TB, key *rsa.PrivateKey, id ima.KeyID, content string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	v := []byte{3, 2, 4}
	v = append(v, id[:]...)
	v = append(v, byte(len(sig)>>8), byte(len(sig)))
	return append(v, sig...)
}

// countingKey counts its signatures.
type countingKey struct {
	crypto.Signer
	n atomic.Int64
}

func (k *countingKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.n.Add(1)
	return k.Signer.Sign(r, digest, opts)
}

func mustSign(t testing.TB, tree Tree, o Options) *Report {
	t.Helper()
	rep, err := Sign(t.Context(), tree, o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestSign(t *testing.T) {
	tree := newFakeTree("one", "two", "one", "", strings.Repeat("x", 3*readSize+1))
	o := options(t)
	key := &countingKey{Signer: o.Key}
	o.Key = key
	rep := mustSign(t, tree, o)
	for i, c := range tree.contents {
		if want := value(t, testKey(), o.KeyID, string(c)); !bytes.Equal(tree.labels[uint64(i+1)], want) {
			t.Errorf("file %d: wrong label", i+1)
		}
	}
	if rep.Files != 5 || rep.Signed != 5 || rep.Distinct != 4 || rep.Signatures != 4 || key.n.Load() != 4 || tree.committed != 1 {
		t.Errorf("%+v, %d signatures, %d commits", rep, key.n.Load(), tree.committed)
	}
	if want := int64(9 + 3*readSize + 1); rep.Bytes != want {
		t.Errorf("%d bytes, want %d", rep.Bytes, want)
	}

	// Again: nothing to do, and nothing set.
	tree.order = nil
	rep = mustSign(t, tree, o)
	if rep.Kept != 5 || rep.Signed != 0 || rep.Signatures != 0 || key.n.Load() != 4 || len(tree.order) != 0 {
		t.Errorf("second run: %+v, %d signatures, set %v", rep, key.n.Load(), tree.order)
	}
}

func TestLabelsThatAreNotKept(t *testing.T) {
	o := options(t)
	right := value(t, testKey(), o.KeyID, "content")
	change := func(i int, b byte) []byte {
		v := bytes.Clone(right)
		v[i] = b
		return v
	}
	sum := sha256.Sum256([]byte("content"))
	for name, label := range map[string][]byte{
		"empty":         {},
		"other type":    change(0, 6),
		"other version": change(1, 3),
		"other hash":    change(2, byte(ima.SHA512)),
		"other key id":  change(3, right[3]^1),
		"damaged":       change(100, right[100]^1),
		"cut":           right[:len(right)-1],
		"longer":        append(bytes.Clone(right), 0),
		"other content": value(t, testKey(), o.KeyID, "another"),
		"other key":     value(t, otherKey(), o.KeyID, "content"),
		"digest":        append([]byte{4, 4}, sum[:]...),
	} {
		t.Run(name, func(t *testing.T) {
			tree := newFakeTree("content")
			tree.labels[1] = label
			rep := mustSign(t, tree, o)
			if rep.Signed+rep.Replaced != 1 || rep.Kept != 0 || !bytes.Equal(tree.labels[1], right) {
				t.Errorf("%+v, label %x", rep, tree.labels[1])
			}
		})
	}
}

// TestFileID: contents that would pass for what is signed of a file under fs-verity get no signature, be it
// made or reused, and hold up no other file. A digest they may have.
func TestFileID(t *testing.T) {
	for _, hash := range []ima.HashID{ima.SHA256, ima.SHA384, ima.SHA512} {
		id, err := ima.FileID(hash, bytes.Repeat([]byte{7}, hash.Size()))
		if err != nil {
			t.Fatal(err)
		}
		bad := string(id)
		tree := newFakeTree("one", bad, bad+"x", bad)
		had := value(t, testKey(), options(t).KeyID, bad)
		tree.labels[2] = had
		o := options(t)
		sum := sha256.Sum256(id)
		o.Reuse = reuseMap{string(sum[:]): had}
		o.Action = func(paths []string) Action {
			if paths[0] == "/f4" {
				return ActionHash
			}
			return ActionSign
		}
		rep := mustSign(t, tree, o)
		if rep.Signed != 2 || rep.Failed != 1 || rep.Hashed != 1 || len(rep.Failures) != 1 || tree.committed != 1 {
			t.Fatalf("%+v", rep)
		}
		if f := rep.Failures[0]; f.Path != "/f2" || !errors.Is(f, ErrFileID) {
			t.Errorf("%v", f)
		}
		if !bytes.Equal(tree.labels[2], had) || tree.labels[4][0] != byte(ima.DigestNG) {
			t.Errorf("labels %x and %x", tree.labels[2], tree.labels[4])
		}
		if r := rep.Records[1]; r.Outcome != Failed || r.Value != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestActions(t *testing.T) {
	tree := newFakeTree()
	tree.add("s", "/sign")
	tree.add("h", "/hash", "/hash2")
	tree.add("k", "/skip")
	sum := sha256.Sum256([]byte("h2"))
	tree.add("h2", "/hashed")
	tree.labels[4] = append([]byte{4, 4}, sum[:]...)
	tree.labels[3] = []byte("whatever")
	tree.openErr[3] = errDisk // must not be read
	o := options(t)
	o.Action = func(paths []string) Action {
		switch {
		case strings.HasPrefix(paths[0], "/hash"):
			return ActionHash
		case paths[0] == "/skip":
			return ActionSkip
		}
		return ActionSign
	}
	rep := mustSign(t, tree, o)
	if rep.Signed != 1 || rep.Hashed != 1 || rep.Skipped != 1 || rep.Kept != 1 || rep.Distinct != 1 {
		t.Errorf("%+v", rep)
	}
	sum = sha256.Sum256([]byte("h"))
	if want := append([]byte{4, 4}, sum[:]...); !bytes.Equal(tree.labels[2], want) {
		t.Errorf("digest label %x, want %x", tree.labels[2], want)
	}
	if string(tree.labels[3]) != "whatever" {
		t.Error("skipped file got another label")
	}
	if r := rep.Records[2]; r.Outcome != Skipped || r.Digest != nil || r.Value != nil {
		t.Errorf("record of skipped file: %+v", r)
	}
}

type reuseMap map[string][]byte

func (m reuseMap) Value(digest []byte, _ ima.KeyID, _ ima.HashID) ([]byte, bool) {
	v, ok := m[string(digest)]
	return v, ok
}

func TestReuse(t *testing.T) {
	o := options(t)
	tree := newFakeTree("good", "bad", "malformed", "good", "absent")
	reuse := reuseMap{}
	for _, c := range []string{"good", "bad", "malformed"} {
		sum := sha256.Sum256([]byte(c))
		reuse[string(sum[:])] = value(t, testKey(), o.KeyID, "good")
	}
	sum := sha256.Sum256([]byte("malformed"))
	reuse[string(sum[:])] = []byte{3, 2}
	o.Reuse = reuse
	rep := mustSign(t, tree, o)
	if rep.Reused != 2 || rep.Signed != 3 || rep.Signatures != 3 {
		t.Errorf("%+v", rep)
	}
	for i, c := range tree.contents {
		if !bytes.Equal(tree.labels[uint64(i+1)], value(t, testKey(), o.KeyID, string(c))) {
			t.Errorf("file %d: wrong label", i+1)
		}
	}
}

func TestDryRun(t *testing.T) {
	o := options(t)
	tree := newFakeTree("a", "b", "a", "c")
	tree.labels[3] = value(t, testKey(), o.KeyID, "a")
	tree.labels[4] = value(t, testKey(), o.KeyID, "c")
	key := &countingKey{Signer: o.Key}
	o.Key, o.DryRun, o.Jobs = key, true, 1
	rep := mustSign(t, tree, o)
	if rep.Signed != 2 || rep.Kept != 2 {
		t.Errorf("%+v", rep)
	}
	if key.n.Load() != 0 || len(tree.order) != 0 || tree.committed != 0 {
		t.Errorf("%d signatures, set %v, %d commits", key.n.Load(), tree.order, tree.committed)
	}
	if rep.Records[1].Value != nil || rep.Records[1].Outcome != Signed || o.ValueSize() != 265 {
		t.Errorf("%+v, value size %d", rep.Records[1], o.ValueSize())
	}
}

// The same report and the same order of labels, whatever the number of jobs.
func TestDeterministic(t *testing.T) {
	run := func(jobs int) (*Report, []uint64) {
		tree := newFakeTree()
		for i := range 200 {
			tree.add(strings.Repeat(fmt.Sprint(i%150), i*i%3000))
		}
		tree.openErr[17] = errDisk
		tree.setErr[18] = errDisk
		o := options(t)
		o.Jobs, o.KeepGoing = jobs, true
		o.Action = func(p []string) Action {
			if strings.HasSuffix(p[0], "9") {
				return ActionHash
			}
			return ActionSign
		}
		rep := mustSign(t, tree, o)
		if !slices.IsSorted(tree.order) {
			t.Errorf("jobs %d: labels were set in the order %v", jobs, tree.order)
		}
		return rep, tree.order
	}
	want, wantOrder := run(1)
	for _, jobs := range []int{2, 7} {
		got, order := run(jobs)
		if !reflect.DeepEqual(got, want) || !slices.Equal(order, wantOrder) {
			t.Errorf("%d jobs give another result than one", jobs)
		}
	}
	if len(want.Failures) != 2 || want.Failed != 2 {
		t.Errorf("failures %v", want.Failures)
	}
}

func TestFailures(t *testing.T) {
	setup := map[string]func(*fakeTree){
		"read":    func(f *fakeTree) { f.openErr[2] = errDisk },
		"set":     func(f *fakeTree) { f.setErr[2] = errDisk },
		"grown":   func(f *fakeTree) { f.contents[1] = []byte("bigger than before") },
		"shrunk":  func(f *fakeTree) { f.contents[1] = nil },
		"listing": func(f *fakeTree) { f.listErr = &IncompleteError{[]Failure{{"/f2", errDisk}}} },
	}
	for name, set := range setup {
		t.Run(name, func(t *testing.T) {
			tree := newFakeTree("a", "bb", "c")
			set(tree)
			o := options(t)
			if _, err := Sign(t.Context(), tree, o); err == nil || !strings.Contains(err.Error(), "/f2: ") {
				t.Errorf("not keeping going: %v", err)
			}
			if tree.committed != 0 {
				t.Error("committed after an error")
			}
			o.KeepGoing = true
			rep := mustSign(t, tree, o)
			if len(rep.Failures) != 1 || rep.Failures[0].Path != "/f2" {
				t.Errorf("keeping going: %+v", rep.Failures)
			}
			if tree.labels[1] == nil || tree.labels[3] == nil || tree.committed != 1 {
				t.Error("the other files were not labelled")
			}
		})
	}
}

func TestFatalError(t *testing.T) {
	tree := newFakeTree("a", "b")
	tree.setErr[1] = &FatalError{errDisk}
	o := options(t)
	o.KeepGoing = true
	if _, err := Sign(t.Context(), tree, o); !errors.Is(err, errDisk) || tree.committed != 0 {
		t.Errorf("%v, %d commits", err, tree.committed)
	}
}

// wrongKey signs with another key than it shows.
type wrongKey struct{ crypto.Signer }

func (wrongKey) Public() crypto.PublicKey { return otherKey().Public() }

func TestBadKeys(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"none":      func(o *Options) { o.Key = nil },
		"wrong":     func(o *Options) { o.Key = wrongKey{testKey()} },
		"weak hash": func(o *Options) { o.Hash = ima.SHA1 },
	} {
		o := options(t)
		o.KeepGoing = true
		change(&o)
		tree := newFakeTree("a")
		if _, err := Sign(t.Context(), tree, o); err == nil || len(tree.order) != 0 {
			t.Errorf("%s: %v, set %v", name, err, tree.order)
		}
	}
}

// Cancelling ends a run in the middle of a file, leaves no goroutine behind and
// commits nothing.
func TestCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	tree := newFakeTree()
	for range 100 {
		tree.add(strings.Repeat("y", 1000))
	}
	var opened atomic.Int64
	tree.onOpen = func(*File) {
		switch n := opened.Add(1); {
		case n == 20:
			cancel()
		case n > 20: // the one that cancels may be kept from it for a while
			<-ctx.Done()
		}
	}
	o := options(t)
	o.KeepGoing = true
	if _, err := Sign(ctx, tree, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := opened.Load(); n > 50 {
		t.Errorf("%d files were opened after cancelling", n-20)
	}
	if tree.committed != 0 {
		t.Error("committed")
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestProgress(t *testing.T) {
	tree := newFakeTree("a", "bb", "skipped", "dddd")
	o := options(t)
	o.Action = func(p []string) Action {
		if p[0] == "/f3" {
			return ActionSkip
		}
		return ActionSign
	}
	var phases []Phase
	var last Progress
	o.Progress = func(p Progress) {
		if !slices.Contains(phases, p.Phase) {
			phases = append(phases, p.Phase)
		}
		if p.Phase == last.Phase && (p.Files < last.Files || p.Bytes < last.Bytes) {
			t.Errorf("progress goes back from %+v to %+v", last, p)
		}
		last = p
	}
	mustSign(t, tree, o)
	if want := []Phase{PhaseList, PhaseSign, PhaseCommit}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	if want := (Progress{PhaseCommit, 3, 3, 7, 7}); last != want {
		t.Errorf("at the end %+v, want %+v", last, want)
	}
}

// There are never more jobs than files.
func TestManyJobs(t *testing.T) {
	tree := newFakeTree("a", "b")
	o := options(t)
	o.Jobs = math.MaxInt
	if r := mustSign(t, tree, o); r.Signed != 2 {
		t.Errorf("%+v", r)
	}
	_, _, r := verify(t, tree, trust(t, testKey()), VerifyOptions{Jobs: math.MaxInt})
	if r.Valid != 2 {
		t.Errorf("%+v", r)
	}
}

func TestEmptyTree(t *testing.T) {
	if rep := mustSign(t, newFakeTree(), options(t)); rep.Files != 0 || len(rep.Failures) != 0 {
		t.Errorf("%+v", rep)
	}
}
