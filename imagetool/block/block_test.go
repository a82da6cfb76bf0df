package block

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"slices"
	"testing"
)

// memory is a device with data in some places and holes in between.
type memory struct {
	bytes []byte
	data  []Range
	reads *[]Range
}

func (m memory) Name() string  { return "memory" }
func (m memory) Size() int64   { return int64(len(m.bytes)) }
func (m memory) Sync() error   { return nil }
func (m memory) Forget() error { return nil }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	*m.reads = append(*m.reads, Range{off, off + int64(len(p))})
	return bytes.NewReader(m.bytes).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckWrite(m, off, len(p)); err != nil {
		return 0, err
	}
	return copy(m.bytes[off:], p), nil
}

func (m memory) Data(from, to int64) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for _, r := range m.data {
			if r.Start, r.End = max(r.Start, from), min(r.End, to); r.Start < r.End && !yield(r) {
				return
			}
		}
	}
}

func newMemory() memory {
	m := memory{make([]byte, 1000), []Range{{100, 200}, {300, 400}}, new([]Range)}
	for _, r := range m.data {
		for i := r.Start; i < r.End; i++ {
			m.bytes[i] = byte(i)
		}
	}
	return m
}

// TestSection nests one section in another.
func TestSection(t *testing.T) {
	m := newMemory()
	outer := NewSection(m, "partition 3", 150, 800)
	s := NewSection(outer, "volume", 30, 200) // bytes 180 to 380
	if got := slices.Collect(s.Data(0, s.Size())); !slices.Equal(got, []Range{{0, 20}, {120, 200}}) {
		t.Errorf("data in %v", got)
	}
	b := make([]byte, 50)
	if n, err := s.ReadAt(b, 170); n != 30 || !errors.Is(err, io.EOF) || !bytes.Equal(b[:n], m.bytes[350:380]) {
		t.Errorf("read %d bytes over the end, %v: %x", n, err, b)
	}
	before := bytes.Clone(m.bytes)
	for _, off := range []int64{-1, 197, 201, 1 << 62} {
		if n, err := s.WriteAt([]byte("1234"), off); err == nil || n != 0 {
			t.Errorf("a write at %d wrote %d bytes, %v", off, n, err)
		}
	}
	if !bytes.Equal(before, m.bytes) {
		t.Error("something was written")
	}
	if n, err := s.WriteAt([]byte("1234"), 196); err != nil || n != 4 || string(m.bytes[376:380]) != "1234" {
		t.Errorf("a write at the end wrote %d bytes, %v", n, err)
	}
}

// TestHoles: holes count as zeros, and nobody reads them.
func TestHoles(t *testing.T) {
	m := newMemory()
	s := NewSection(m, "partition 1", 50, 500)
	want := sha256.Sum256(m.bytes[50:550])
	if got, err := Digest(context.Background(), s); err != nil || !bytes.Equal(got, want[:]) {
		t.Errorf("digest %x, %v", got, err)
	}
	if !slices.Equal(*m.reads, m.data) {
		t.Errorf("read %v", *m.reads)
	}
	if zero, err := IsZero(context.Background(), NewSection(m, "partition 2", 400, 600)); err != nil || !zero {
		t.Errorf("a hole: %v, %v", zero, err)
	}
	if zero, err := IsZero(context.Background(), NewSection(m, "partition 2", 399, 600)); err != nil || zero {
		t.Errorf("a byte before a hole: %v, %v", zero, err)
	}
}

// TestJoin reads, writes and lists pieces of any size across the seams of a joined
// device, and compares with the same bytes in one piece.
func TestJoin(t *testing.T) {
	m := newMemory()
	parts := []Range{{350, 360}, {150, 250}, {0, 1}, {900, 1000}, {320, 330}}
	j := Join(m, "volume vg/lv", parts)
	var whole []byte
	for _, p := range parts {
		whole = append(whole, m.bytes[p.Start:p.End]...)
	}
	if j.Size() != int64(len(whole)) || j.Name() != "volume vg/lv" {
		t.Fatalf("%s has %d bytes, want %d", j.Name(), j.Size(), len(whole))
	}
	for off := range whole {
		for _, n := range []int{0, 1, 9, 100, 300} {
			b := make([]byte, n)
			got, err := j.ReadAt(b, int64(off))
			want := whole[off:min(off+n, len(whole))]
			if !bytes.Equal(b[:got], want) || (err != nil) != (got < n) || err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes at %d: %d, %v", n, off, got, err)
			}
		}
	}
	for _, off := range []int64{-1, j.Size(), j.Size() + 1} {
		if n, err := j.ReadAt(make([]byte, 1), off); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
	if got := slices.Collect(j.Data(5, 215)); !slices.Equal(got, []Range{{5, 10}, {10, 60}, {211, 215}}) {
		t.Errorf("data in %v", got)
	}
	want := bytes.Clone(m.bytes)
	text := bytes.Repeat([]byte("x"), 120)
	copy(want[355:360], text)
	copy(want[150:250], text)
	copy(want[0:1], text)
	copy(want[900:914], text)
	if n, err := j.WriteAt(text, 5); n != len(text) || err != nil || !bytes.Equal(m.bytes, want) {
		t.Errorf("a write over three seams: %d, %v", n, err)
	}
	for _, off := range []int64{-1, j.Size() - 119, 1 << 62} {
		if n, err := j.WriteAt(text, off); n != 0 || err == nil || !bytes.Equal(m.bytes, want) {
			t.Errorf("a write at %d: %d, %v", off, n, err)
		}
	}
	if empty := Join(m, "nothing", nil); empty.Size() != 0 {
		t.Errorf("nothing has %d bytes", empty.Size())
	}
}
