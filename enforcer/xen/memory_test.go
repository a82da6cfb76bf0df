package xen

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// tables are the frames of a guest that has only page tables.
type tables map[uint64][]byte

// enter writes an entry of the table in a frame.
func (m tables) enter(frame, index, entry uint64) {
	if m[frame] == nil {
		m[frame] = make([]byte, pageSize)
	}
	le.PutUint64(m[frame][8*index:], entry)
}

// TestTranslate translates addresses with the indices 1, 2, 3, 4 and 5 from the top level, in pages
// of each size.
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
	// A translation through a non-table entry, or without a root, would read these frames.
	m.enter(0x80000, 0, 0)
	m.enter(0, 2, 12<<12|present)
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
		"1 GiB":                      {four, at(0, 2, 8, 0x1ff, 0x1fe), 0x80000 | 0x1ff<<9 | 0x1fe},
		"1 GiB, five levels":         {five, at(1, 2, 8, 0x1ff, 0x1fe), 0x80000 | 0x1ff<<9 | 0x1fe},
		"not present":                {four, at(0, 2, 3, 4, 6), 0},
		"no table":                   {four, at(0, 3, 3, 4, 5), 0},
		"large in the fourth level":  {four, at(0, 9, 0, 0, 0), 0},
		"not canonical":              {four, at(1, 2, 3, 4, 5), 0},
		"not canonical, upper half":  {four, 0xfffe<<48 | at(0, 256, 3, 4, 5), 0},
		"not canonical, five levels": {five, 1<<57 | at(1, 2, 3, 4, 5), 0},
		"no page tables":             {space{}, at(0, 2, 3, 4, 5), 0},
	} {
		h := hypervisor{frames: m}
		got, err := h.translate(tt.s, tt.addr)
		if tt.want == 0 && !errors.Is(err, errNotMapped) || tt.want != 0 && (err != nil || got != tt.want) {
			t.Errorf("%s: frame %#x, %v, want %#x", name, got, err, tt.want)
		}
	}
}

func TestSpace(t *testing.T) {
	for _, tt := range []struct {
		cr0, cr4 uint64
		want     space
	}{
		{cr0Paging, 0, space{0x1000, 4}}, {cr0Paging, ^uint64(cr4LA57), space{0x1000, 4}}, {cr0Paging, cr4LA57, space{0x1000, 5}}, {0, 0, space{}},
	} {
		if got := spaceOf(tt.cr0, 0x1000, tt.cr4); got != tt.want {
			t.Errorf("cr0 %#x, cr4 %#x: %+v, want %+v", tt.cr0, tt.cr4, got, tt.want)
		}
	}
}

// TestRead reads ranges that span two pages, one of which may be missing.
func TestRead(t *testing.T) {
	m := tables{}
	for frame := uint64(11); frame < 14; frame++ {
		m.enter(frame, 0, (frame+1)<<12|entryPresent)
	}
	m.enter(14, 0, 20<<12|entryPresent)
	m.enter(14, 1, 30<<12|entryPresent)
	m[20], m[30] = bytes.Repeat([]byte{2}, pageSize), bytes.Repeat([]byte{3}, pageSize)
	r := []*guest.Range{
		{Addr: pageSize - 3, Buf: make([]byte, 5)},
		{Addr: 2*pageSize - 1, Buf: make([]byte, 2)},
		{Addr: 7, Buf: nil},
	}
	h := hypervisor{frames: m}
	h.read(space{11 << 12, 4}, r...)
	if r[0].Err != nil || !bytes.Equal(r[0].Buf, []byte{2, 2, 2, 3, 3}) {
		t.Errorf("% x, %v", r[0].Buf, r[0].Err)
	}
	if !errors.Is(r[1].Err, errNotMapped) || !strings.Contains(r[1].Err.Error(), "0x2000") || r[2].Err != nil {
		t.Errorf("%v, %v", r[1].Err, r[2].Err)
	}
}

// FuzzTranslate: a walk ends, whatever the guest's page tables contain.
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
		h := hypervisor{frames: m}
		if frame, err := h.translate(s, addr); err == nil && frame > frameMask {
			t.Fatalf("frame %#x", frame)
		}
	})
}

// TestNote: recorded traps are found again, by the same domain only.
func TestNote(t *testing.T) {
	stateDir = filepath.Join(t.TempDir(), "made")
	guest := func(domain uint16, id, kind string) *Guest {
		return &Guest{hypervisor: &hypervisor{domain: domain}, id: id, chosen: kind, traps: map[uint64]uint64{}}
	}
	const id, kind = "xen domain 3 uuid 00 boot b", "debug"
	one := guest(3, id, kind)
	one.traps, one.Upcall = map[uint64]uint64{0xffffffff81000100: 0x1000, 0xffffffff81000200: 7}, 5
	if err := one.lockDomain(); err != nil {
		t.Fatal(err)
	}
	if err := guest(3, id, kind).lockDomain(); err != unix.EAGAIN {
		t.Errorf("a domain that another process has locked: %v", err)
	}
	if err := one.saveTraps(); err != nil {
		t.Fatal(err)
	}
	same := guest(3, id, kind)
	if err := same.loadTraps(); err != nil || !maps.Equal(same.traps, one.traps) || same.Upcall != 5 {
		t.Errorf("%v, %d, %v", same.traps, same.Upcall, err)
	}
	for name, g := range map[string]*Guest{
		"another run":    guest(3, id+"x", kind),
		"another domain": guest(4, id, kind),
	} {
		if err := g.loadTraps(); err != nil || len(g.traps) != 0 {
			t.Errorf("%s: %v, %v", name, g.traps, err)
		}
	}
	if err := guest(3, id, "monitor str").loadTraps(); err == nil {
		t.Error("traps of another kind are accepted")
	}
	good, err := os.ReadFile(one.notePath())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cut":           string(good[:len(good)-1]),
		"more":          string(good) + "{}",
		"empty":         "",
		"unknown field": strings.Replace(string(good), "{", `{"a":1,`, 1),
		"twice":         strings.Replace(string(good), `"kind"`, `"kind":"debug","kind"`, 1),
		"no number":     strings.Replace(string(good), ":7", `:"7"`, 1),
	} {
		if err := os.WriteFile(one.notePath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g := guest(3, id, kind)
		if err := g.loadTraps(); text == string(good) || err == nil || len(g.traps) != 0 {
			t.Errorf("%s: %v, %v", name, g.traps, err)
		}
	}
}

// TestSticky: after an error the only call to Xen is to pause the domain.
func TestSticky(t *testing.T) {
	h := hypervisor{fd: -1, mem: new(shared)}
	h.check("first", errNotMapped)
	h.check("second", os.ErrInvalid)
	if !errors.Is(h.err, errNotMapped) || errors.Is(h.err, os.ErrInvalid) {
		t.Error(h.err)
	}
	unpause := h.domctl(unpauseDomain)
	_, mapped := h.mapFrame(1, 0)
	h.write(1, 0, nil)
	if h.calls != 0 || !errors.Is(unpause, errNotMapped) || mapped == nil {
		t.Errorf("%d calls, %v, %v", h.calls, unpause, mapped)
	}
	if err := h.domctl(pauseDomain); h.calls != 1 || !errors.Is(err, unix.EBADF) {
		t.Errorf("%d calls, %v", h.calls, err)
	}
	h.raise(dmOp{}) // the pause command is still in memory
	if h.calls != 1 {
		t.Error("something was done after a pause")
	}
}

// TestClosedTwice: a second Close does not release anything that belongs to somebody else by then.
func TestClosedTwice(t *testing.T) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.MmapPtr(-1, 0, nil, unsafe.Sizeof(shared{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	g := &Guest{hypervisor: &hypervisor{fd: fd, mem: (*shared)(mem)}, lock: -1}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	again, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0) // gets the free number
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := unix.FcntlInt(uintptr(again), unix.F_GETFD, 0); again != fd || err != nil {
		t.Errorf("descriptor %d, then %d: %v", fd, again, err)
	}
	*g.mem = shared{} // this is Go's own memory
	if err := g.Freeze(); !errors.Is(err, errGone) {
		t.Error(err)
	}
}

// TestTraps: each trap is as long as the nop, and if nobody intercepts it, it jumps back to itself.
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
