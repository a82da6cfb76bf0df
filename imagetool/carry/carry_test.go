package carry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// A file in memory notes what happens to it, so that each moment can be had again.
type file struct {
	b      []byte
	events []event
	fault  int // how many operations go well; -1 for all
}

func (f *file) Name() string { return "file" }
func (f *file) Size() int64  { return int64(len(f.b)) }

func (f *file) Data(from, to int64) iter.Seq[block.Range] {
	return func(yield func(block.Range) bool) {
		if from < to {
			yield(block.Range{Start: from, End: to})
		}
	}
}

// An event is an operation that went well.
type event struct {
	do   func(*file)
	sync bool
}

var errFault = errors.New("the disk fails")

func (f *file) happen(do func(*file)) error {
	if f.fault == 0 {
		return errFault
	}
	f.fault--
	do(f)
	f.events = append(f.events, event{do: do})
	return nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(f.b)) {
		copy(p, f.b[off:])
	}
	return len(p), nil
}

// WriteAt is two operations: half of it may be all that is written.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	half := len(p) / sector / 2 * sector
	for _, part := range []struct {
		p   []byte
		off int64
	}{{p[:half], off}, {p[half:], off + int64(half)}} {
		b := bytes.Clone(part.p)
		if err := f.happen(func(f *file) {
			if end := part.off + int64(len(b)); len(b) > 0 && end > int64(len(f.b)) {
				f.b = append(f.b, make([]byte, end-int64(len(f.b)))...)
			}
			if len(b) > 0 {
				copy(f.b[part.off:], b)
			}
		}); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (f *file) Forget() error { return nil }

func (f *file) Sync() error {
	err := f.happen(func(*file) {})
	if err == nil {
		f.events[len(f.events)-1].sync = true
	}
	return err
}

func (f *file) Truncate(size int64) error {
	return f.happen(func(f *file) {
		if size > int64(len(f.b)) {
			f.b = append(f.b, make([]byte, size-int64(len(f.b)))...)
		}
		f.b = f.b[:size:size]
	})
}

// A log in memory.
type log struct{ b []byte }

func (l *log) Path() string { return "log" }

func (l *log) Create(write func(io.Writer) error) error {
	var b bytes.Buffer
	err := write(&b)
	l.b = b.Bytes()
	return err
}

func (l *log) Open() (undo.File, int64, error) {
	if l.b == nil {
		return nil, 0, fs.ErrNotExist
	}
	return opened{bytes.NewReader(l.b)}, int64(len(l.b)), nil
}

func (l *log) Remove() error { l.b = nil; return nil }

type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }

// images are a file, and what it is to become: it grows from a size to another.
func images(t *testing.T, from, to int) (before, after []byte) {
	t.Helper()
	rnd := rand.NewChaCha8([32]byte{1})
	before = make([]byte, from)
	rnd.Read(before)
	copy(before, "magic")
	after = append(bytes.Clone(before), make([]byte, to-from)...)
	for _, at := range []int{600, 40 << 10, 80 << 10, 81 << 10} {
		rnd.Read(after[at:][:5000])
	}
	if to > from {
		rnd.Read(after[to-5000:]) // in front of it is a hole
	}
	return before, after
}

var sizes = map[string][2]int{
	"same size":      {96 << 10, 96 << 10},
	"grown":          {96 << 10, 120 << 10},
	"odd sizes":      {96<<10 + 100, 120<<10 + 77},
	"within sectors": {96<<10 + 100, 96<<10 + 300},
	"odd, not grown": {96<<10 + 100, 96<<10 + 100},
}

func change(t *testing.T, before, after []byte) (*file, *Change, *undo.Guard) {
	t.Helper()
	f := &file{b: bytes.Clone(before), fault: -1}
	c, err := Compare(t.Context(), &file{b: after}, &file{b: before}, 0, f)
	if err != nil {
		t.Fatal(err)
	}
	return f, c, &undo.Guard{Path: "file", Size: int64(len(before)), Grown: c.Grown(), Log: &log{}, Device: f}
}

func unchanged() error { return nil }

// TestEachMoment: at each moment of a run the log brings the file back, and so it does
// from each moment of that.
func TestEachMoment(t *testing.T) {
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			before, after := images(t, size[0], size[1])
			f, c, g := change(t, before, after)
			if err := g.Commit(unchanged, []undo.Change{c}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.b, after) {
				t.Fatal("the file is not the copy")
			}
			for n := range len(f.events) + 1 {
				half := &file{b: bytes.Clone(before), fault: -1}
				for _, e := range f.events[:n] {
					e.do(half)
				}
				lost := afterPowerLoss(before, f.events[:n])
				if !bytes.Equal(lost.b, before) && !bytes.Equal(lost.b, after) && !bytes.Contains(lost.b, []byte("recover")) {
					t.Errorf("after %d events and a loss of power the file is half written, and not marked", n)
				}
				recoverEachMoment(t, g, lost, before)
				if started := n > 2; started && n < len(f.events)-3 && !bytes.Contains(half.b, []byte("recover")) {
					t.Errorf("after %d events the file is not marked", n)
				}
				recoverEachMoment(t, g, half, before)
			}
		})
	}
}

// afterPowerLoss loses some of what was not synced.
func afterPowerLoss(before []byte, events []event) *file {
	f := &file{b: bytes.Clone(before), fault: -1}
	synced := -1
	for i, e := range events {
		if e.sync {
			synced = i
		}
	}
	for i, e := range events {
		if i <= synced || rand.IntN(2) == 0 {
			e.do(f)
		}
	}
	return f
}

// recoverEachMoment recovers a file, cut short once after each number of operations.
func recoverEachMoment(t *testing.T, g *undo.Guard, half *file, before []byte) {
	t.Helper()
	for k := -1; ; k++ {
		f := &file{b: bytes.Clone(half.b), fault: k}
		_, err := undo.Recover(g.Log, f, f.Size())
		if k >= 0 && errors.Is(err, errFault) {
			f.fault = -1
			_, err = undo.Recover(g.Log, f, f.Size())
		} else if k >= 0 {
			return
		}
		if err != nil || !bytes.Equal(f.b, before) {
			t.Fatalf("recover, cut short after %d operations: %v, the same: %v", k, err, bytes.Equal(f.b, before))
		}
		if k >= 6 { // each kind of operation was cut short by then
			return
		}
	}
}

// TestFaults: an error anywhere is undone at once.
func TestFaults(t *testing.T) {
	before, after := images(t, 96<<10, 120<<10)
	for n := 0; ; n++ {
		f, c, g := change(t, before, after)
		f.fault = n
		once := &recovering{f}
		g.Device, c.file = once, once
		err := g.Commit(unchanged, []undo.Change{c})
		if err == nil {
			if n < 10 {
				t.Errorf("only %d operations", n)
			}
			return
		}
		if !errors.Is(err, errFault) || !bytes.Equal(f.b, before) {
			t.Errorf("operation %d: %v, as before: %v", n, err, bytes.Equal(f.b, before))
		}
	}
}

// recovering fails once.
type recovering struct{ *file }

func (r *recovering) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.file.WriteAt(p, off)
	r.after(err)
	return n, err
}

func (r *recovering) Sync() error            { err := r.file.Sync(); r.after(err); return err }
func (r *recovering) Truncate(n int64) error { err := r.file.Truncate(n); r.after(err); return err }

func (r *recovering) after(err error) {
	if err != nil {
		r.fault = -1
	}
}

// TestForeign: what somebody else has written to the file, or to its tail, stays.
func TestForeign(t *testing.T) {
	before, after := images(t, 96<<10, 120<<10)
	for name, spoil := range map[string]func(f *file){
		"in the file": func(f *file) { f.b[41<<10]++ },
		"in the tail": func(f *file) { f.b[119<<10]++ },
		"grown":       func(f *file) { f.b = append(f.b, 1) },
		"cut":         func(f *file) { f.b = f.b[:96<<10-1] },
	} {
		f, c, g := change(t, before, after)
		if err := g.Commit(unchanged, []undo.Change{c}); err != nil {
			t.Fatal(err)
		}
		spoil(f)
		is := bytes.Clone(f.b)
		if _, err := undo.Recover(g.Log, f, f.Size()); err == nil || !bytes.Equal(f.b, is) {
			t.Errorf("%s: %v, untouched: %v", name, err, bytes.Equal(f.b, is))
		}
	}
}

// TestSmaller: a copy that has become smaller is not carried over.
func TestSmaller(t *testing.T) {
	before, _ := images(t, 96<<10, 96<<10)
	_, err := Compare(context.Background(), &file{b: before[:50<<10]}, &file{b: before}, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "smaller") {
		t.Errorf("error %v", err)
	}
}
