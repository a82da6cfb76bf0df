package undo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
)

type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) Sync() error                              { return nil }
func (m memory) Forget() error                            { return nil }

// run is an image, the blocks that are going to change, and the log of that.
type run struct {
	before memory
	blocks []Block
	log    []byte
}

func newRun(t testing.TB) *run {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	fill := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	r := &run{before: fill(32 << 10)}
	clear(r.before[8192:16384]) // a hole
	r.blocks = []Block{
		{1024, [][]byte{fill(1024), fill(1024)}},
		{8192, [][]byte{fill(4096)}},
		{20480, [][]byte{fill(512)}},
		{4096, [][]byte{fill(1024)}},
	}
	var log bytes.Buffer
	if err := Write(&log, Image{Size: int64(len(r.before)), Name: "guest.img"}, r.before, each(r.blocks)); err != nil {
		t.Fatal(err)
	}
	r.log = log.Bytes()
	return r
}

func each(blocks []Block) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func mustRead(t testing.TB, log []byte) *Log {
	t.Helper()
	l, err := Read(bytes.NewReader(log), int64(len(log)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRestore has each sector be old or of any version, thousands of times.
func TestRestore(t *testing.T) {
	r := newRun(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	l := mustRead(t, r.log)
	if l.Image != (Image{Size: 32 << 10, Name: "guest.img"}) {
		t.Errorf("image %v", l.Image)
	}
	for range 2000 {
		m := memory(bytes.Clone(r.before))
		changed := 0
		for _, b := range r.blocks {
			was := bytes.Clone(m[b.Offset:][:len(b.Versions[0])])
			for at := 0; at < len(b.Versions[0]); at += sectorSize {
				if n := rnd.IntN(len(b.Versions) + 1); n > 0 {
					copy(m[b.Offset+int64(at):], b.Versions[n-1][at:][:sectorSize])
				}
			}
			if !bytes.Equal(was, m[b.Offset:][:len(was)]) {
				changed++
			}
		}
		s, err := l.Restore(m)
		if err != nil {
			t.Fatal(err)
		}
		if s != (Summary{len(r.blocks), changed}) {
			t.Errorf("summary %v, %d blocks were changed", s, changed)
		}
		if sha256.Sum256(m) != sha256.Sum256(r.before) {
			t.Fatal("the bytes before are not back")
		}
	}
}

// TestForeign changes one byte of each sector to what no version has.
func TestForeign(t *testing.T) {
	r := newRun(t)
	l := mustRead(t, r.log)
	for _, b := range r.blocks {
		for at := range len(b.Versions[0]) {
			m := memory(bytes.Clone(r.before))
			copy(m[1024:], r.blocks[0].Versions[1])
			m[b.Offset+int64(at)] ^= 0x40
			want := bytes.Clone(m)
			_, err := l.Restore(m)
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || mismatch.Offset != b.Offset+int64(at/sectorSize*sectorSize) {
				t.Fatalf("byte %d of the block at %d: %v", at, b.Offset, err)
			}
			if !bytes.Equal(m, want) {
				t.Fatal("something was written")
			}
		}
	}
}

// TestRestoreWritesAll: what seems to have its old bytes may have them in the cache
// only, so every block that is not a hole is written again.
func TestRestoreWritesAll(t *testing.T) {
	r := newRun(t)
	written := make([]bool, len(r.before))
	dev := &watched{memory: bytes.Clone(r.before), write: func(p []byte, off int64) bool {
		for i := range p {
			written[off+int64(i)] = true
		}
		return true
	}}
	if _, err := mustRead(t, r.log).Restore(dev); err != nil {
		t.Fatal(err)
	}
	for _, b := range r.blocks {
		for i := range b.Versions[0] {
			if at := b.Offset + int64(i); written[at] == allZero(r.before[b.Offset:][:len(b.Versions[0])]) {
				t.Fatalf("byte %d: written is %v", at, written[at])
			}
		}
	}
}

// TestRestoreReadsBack has a device lose each write in turn.
func TestRestoreReadsBack(t *testing.T) {
	r := newRun(t)
	for lose := 1; ; lose++ {
		n := 0
		dev := &watched{memory: bytes.Clone(r.before), write: func([]byte, int64) bool { n++; return n != lose }}
		for _, b := range r.blocks {
			copy(dev.memory[b.Offset:], b.Versions[len(b.Versions)-1])
		}
		_, err := mustRead(t, r.log).Restore(dev)
		if lose > n {
			if err != nil || n < len(r.blocks) {
				t.Errorf("nothing was lost of %d writes: %v", n, err)
			}
			return
		}
		// A mark of the beginning that is lost is overwritten in the end.
		if err == nil && !bytes.Equal(dev.memory, r.before) {
			t.Errorf("write %d was lost without a word", lose)
		}
	}
}

// watched tells of writes, and loses those for which that returns false.
type watched struct {
	memory
	write func(p []byte, off int64) bool
}

func (w *watched) WriteAt(p []byte, off int64) (int, error) {
	if !w.write(p, off) {
		return len(p), nil
	}
	return w.memory.WriteAt(p, off)
}

// TestDamagedLog cuts the log at every place and flips every bit.
func TestDamagedLog(t *testing.T) {
	r := newRun(t)
	bad := func(what string, at int, log []byte) {
		if _, err := Read(bytes.NewReader(log), int64(len(log))); err == nil {
			t.Fatalf("log %s at byte %d was read", what, at)
		}
	}
	for n := range r.log {
		bad("cut", n, r.log[:n])
		flipped := bytes.Clone(r.log)
		flipped[n] ^= 1 << (n % 8)
		bad("flipped", n, flipped)
	}
	bad("with more behind it", len(r.log), append(bytes.Clone(r.log), 0))
}

// TestLogChanges has the log change after it was read.
func TestLogChanges(t *testing.T) {
	r := newRun(t)
	log := bytes.Clone(r.log)
	l := mustRead(t, log)
	log[len(log)/2] ^= 1
	m := memory(bytes.Clone(r.before))
	if _, err := l.Restore(m); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("error %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	r := newRun(t)
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		blocks iter.Seq2[Block, error]
		want   string
	}{
		{"half a sector", each([]Block{{512, [][]byte{make([]byte, 100)}}}), "100 bytes"},
		{"between sectors", each([]Block{{100, [][]byte{make([]byte, 512)}}}), "block at 100 is malformed"},
		{"versions of two sizes", each([]Block{{0, [][]byte{make([]byte, 512), make([]byte, 1024)}}}), "512 and 1024"},
		{"behind the end", each([]Block{{32 << 10, [][]byte{make([]byte, 512)}}}), "32768"},
		{"nothing", each([]Block{{512, nil}}), "malformed"},
		{"an error", func(yield func(Block, error) bool) { yield(Block{}, broken) }, "broken"},
	} {
		err := Write(new(bytes.Buffer), Image{Size: int64(len(r.before))}, r.before, c.blocks)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzRead reads any log, and restores what it says if it is one.
func FuzzRead(f *testing.F) {
	r := newRun(f)
	f.Add(r.log)
	f.Add([]byte(magic))
	f.Add(r.log[:len(r.log)/2])
	f.Fuzz(func(t *testing.T, log []byte) {
		l, err := Read(bytes.NewReader(log), int64(len(log)))
		if err != nil {
			return
		}
		m := memory(bytes.Clone(r.before))
		if _, err := l.Restore(m); err == nil && !bytes.Equal(m, r.before) && l.Image.Size == int64(len(m)) {
			s, err := l.Restore(m)
			if err != nil || s.Changed != 0 {
				t.Errorf("restored twice: %v, %v", s, err)
			}
		}
	})
}
