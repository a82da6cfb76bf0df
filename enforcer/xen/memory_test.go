package xen

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// tables are frames of a guest that is only page tables.
type tables map[uint64][]byte

// enter makes an entry of the table in a frame.
func (m tables) enter(frame, index, entry uint64) {
	if m[frame] == nil {
		m[frame] = make([]byte, pageSize)
	}
	le.PutUint64(m[frame][8*index:], entry)
}

// TestTranslate: addresses whose indices are 1, 2, 3, 4 and 5 from the top, in pages of each size.
func TestTranslate(t *testing.T) {
	const present, large, nx = entryPresent, entryLarge, 1 << 63
	m := tables{}
	m.enter(10, 1, 11<<12|present)    // level 5
	m.enter(11, 2, 12<<12|present|nx) // level 4
	m.enter(12, 3, 13<<12|present)
	m.enter(13, 4, 14<<12|present)
	m.enter(14, 5, 0x1234<<12|present|nx)
	m.enter(14, 6, 0x1234<<12)                         // swapped out
	m.enter(13, 7, 0x40000<<12|1<<12|present|large|nx) // 2 MiB; bit 12 is PAT
	m.enter(12, 8, 0x80000<<12|present|large)          // 1 GiB
	m.enter(11, 9, 0x80000<<12|present|large)          // reserved
	m.enter(11, 256, 12<<12|present)
	at := func(five, four, three, two, one uint64) uint64 {
		return five<<48 | four<<39 | three<<30 | two<<21 | one<<12 | 0x678
	}
	// The frame that a translation comes to through the entry that is no table.
	m.enter(0x80000, 0, 0)
	four, five := space{11<<12 | 0xfff, 4}, space{10 << 12, 5}
	for name, tt := range map[string]struct {
		s    space
		addr uint64
		want uint64 // 0: not mapped
	}{
		"4 KiB":                      {four, at(0, 2, 3, 4, 5), 0x1234},
		"4 KiB, five levels":         {five, at(1, 2, 3, 4, 5), 0x1234},
		"upper half":                 {four, 0xffff<<48 | at(0, 256, 3, 4, 5), 0x1234},
		"2 MiB":                      {four, at(0, 2, 3, 7, 0x1ff), 0x401ff},
		"1 GiB":                      {five, at(1, 2, 8, 0x1ff, 0x1fe), 0x80000 | 0x1ff<<9 | 0x1fe},
		"not present":                {four, at(0, 2, 3, 4, 6), 0},
		"no table":                   {four, at(0, 3, 3, 4, 5), 0},
		"large in the fourth level":  {four, at(0, 9, 0, 0, 0), 0},
		"not canonical":              {four, at(1, 2, 3, 4, 5), 0},
		"not canonical, upper half":  {four, 0xfffe<<48 | at(0, 256, 3, 4, 5), 0},
		"not canonical, five levels": {five, 1<<57 | at(1, 2, 3, 4, 5), 0},
	} {
		mem := memory{frames: m}
		got, err := mem.translate(tt.s, tt.addr)
		if tt.want == 0 && !errors.Is(err, errNotMapped) || tt.want != 0 && (err != nil || got != tt.want) {
			t.Errorf("%s: frame %#x, %v, want %#x", name, got, err, tt.want)
		}
	}
}

// TestRead: a range over two pages, one of which may be missing.
func TestRead(t *testing.T) {
	m := tables{}
	for frame := uint64(11); frame < 14; frame++ {
		m.enter(frame, 0, (frame+1)<<12|entryPresent)
	}
	m.enter(14, 0, 20<<12|entryPresent)
	m.enter(14, 1, 30<<12|entryPresent)
	m[20], m[30] = bytes.Repeat([]byte{2}, pageSize), bytes.Repeat([]byte{3}, pageSize)
	r := []guest.Range{
		{Addr: pageSize - 3, Buf: make([]byte, 5)},
		{Addr: 2*pageSize - 1, Buf: make([]byte, 2)},
		{Addr: 7, Buf: nil},
	}
	mem := memory{frames: m}
	mem.read(space{11 << 12, 4}, r)
	if r[0].Err != nil || !bytes.Equal(r[0].Buf, []byte{2, 2, 2, 3, 3}) {
		t.Errorf("% x, %v", r[0].Buf, r[0].Err)
	}
	if !errors.Is(r[1].Err, errNotMapped) || !strings.Contains(r[1].Err.Error(), "0x2000") || r[2].Err != nil {
		t.Errorf("%v, %v", r[1].Err, r[2].Err)
	}
}

// FuzzTranslate: whatever a guest has for page tables, a walk ends.
func FuzzTranslate(f *testing.F) {
	f.Add(uint64(0x12345678), uint64(11<<12|1), uint64(11<<12|1|0x80), true)
	f.Fuzz(func(t *testing.T, addr, a, b uint64, five bool) {
		m := tables{}
		for i := range uint64(512) {
			m.enter(a>>12&frameMask, i, []uint64{a, b}[i&1])
			m.enter(b>>12&frameMask, i, []uint64{b, a}[i&1])
		}
		s := space{a, 4}
		if five {
			s.levels = 5
		}
		mem := memory{frames: m}
		if frame, err := mem.translate(s, addr); err == nil && frame > frameMask {
			t.Fatalf("frame %#x", frame)
		}
	})
}

// TestTrapsFile: what was noted is found again, by the same domain alone.
func TestTrapsFile(t *testing.T) {
	stateDir = filepath.Join(t.TempDir(), "made")
	one := &Guest{domain: 3, id: "xen domain 3 uuid 00 boot b", kind: "debug", traps: map[uint64]uint64{0xffffffff81000100: 0x1000, 0xffffffff81000200: 7}}
	if err := one.saveTraps(); err != nil {
		t.Fatal(err)
	}
	like := func(change func(g *Guest)) *Guest {
		g := &Guest{domain: one.domain, id: one.id, kind: one.kind, traps: map[uint64]uint64{}}
		change(g)
		return g
	}
	same := like(func(*Guest) {})
	if err := same.loadTraps(); err != nil || !reflect.DeepEqual(same.traps, one.traps) {
		t.Errorf("%v, %v", same.traps, err)
	}
	for name, g := range map[string]*Guest{
		"another run":    like(func(g *Guest) { g.id += "x" }),
		"another domain": like(func(g *Guest) { g.domain++ }),
	} {
		if err := g.loadTraps(); err != nil || len(g.traps) != 0 {
			t.Errorf("%s: %v, %v", name, g.traps, err)
		}
	}
	if err := like(func(g *Guest) { g.kind = "monitor str" }).loadTraps(); err == nil {
		t.Error("traps of another kind are taken for ours")
	}
	if err := os.WriteFile(one.trapsPath(), []byte(trapsHead+one.id+"\ndebug\nffff 1\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := like(func(*Guest) {}).loadTraps(); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestTraps: each trap is as long as the nop, and what it does if nobody watches is to come to
// itself again.
func TestTraps(t *testing.T) {
	for _, trap := range traps {
		if len(trap.code) != len(nop) {
			t.Errorf("%s has %d bytes", trap.name, len(trap.code))
		}
		if jump := bytes.IndexByte(trap.code, 0xeb); trap.name != "int3" && (jump < 1 || jump+2+int(int8(trap.code[jump+1])) != 0) {
			t.Errorf("%s: % x does not jump back", trap.name, trap.code)
		}
	}
}
