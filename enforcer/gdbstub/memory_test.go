package gdbstub

import (
	"bytes"
	"os"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestMemory compares with the image of the firmware, and goes where nothing is.
func TestMemory(t *testing.T) {
	g := boot(t, 2).dial(t)
	plant(t, g, hook)
	s := runToHit(t, g)
	image, err := os.ReadFile(firmware(t))
	if err != nil {
		t.Fatal(err)
	}
	const mapped = 2 << 20
	ranges := []*guest.Range{
		{Addr: 0xf0000, Buf: make([]byte, 64<<10)},
		{Addr: mapped, Buf: make([]byte, 1)},
		{Addr: mapped - 4, Buf: make([]byte, 8)},
		{Addr: mapped - 3000, Buf: make([]byte, 4000)},
		{Addr: mapped - 4, Buf: make([]byte, 4)},
		{Addr: 1 << 63, Buf: make([]byte, 8)},
		{Addr: 1<<64 - 4, Buf: make([]byte, 8)},
		{Addr: 1<<64 - 8, Buf: make([]byte, 8)},
		{Addr: mapped},
	}
	good := map[int]bool{0: true, 4: true, 8: true}
	for i := range 500 {
		good[len(ranges)] = true
		ranges = append(ranges, &guest.Range{Addr: 0xf0000 + uint64(i), Buf: make([]byte, 1+i%16)})
	}
	for vcpu := range 2 {
		if err := g.Read(vcpu, ranges); err != nil {
			t.Fatal(err)
		}
		if vcpu != s.VCPU {
			continue // which may not use page tables yet
		}
		for i, r := range ranges {
			if good[i] != (r.Err == nil) {
				t.Errorf("range %d, %d bytes at %#x: %v", i, len(r.Buf), r.Addr, r.Err)
			}
			if at := r.Addr - 0xf0000; good[i] && at < 1<<16 && !bytes.Equal(r.Buf, image[at:at+uint64(len(r.Buf))]) {
				t.Errorf("range %d, %d bytes at %#x are not those of the firmware", i, len(r.Buf), r.Addr)
			}
		}
	}
	runOn(t, g, s) // also when another virtual CPU was looked at last
	if next := runToHit(t, g); next.VCPU == s.VCPU {
		if _, bodies, _ := counters(t, g, s.VCPU); bodies != 1 {
			t.Errorf("the body ran %d times", bodies)
		}
	}
	if err := g.Read(2, ranges); err == nil {
		t.Error("there is a virtual CPU 2")
	}
}

// TestReadImage reads by physical addresses what no page table of the guest maps, and leaves the stub as it was. What a
// process that died has left is put right by the next one.
func TestReadImage(t *testing.T) {
	m := boot(t, 1)
	g := m.dial(t)
	plant(t, g, hook)
	s := runToHit(t, g)
	image, err := os.ReadFile(firmware(t))
	if err != nil {
		t.Fatal(err)
	}
	const kernelMap = 0xffffffff80000000
	r := &guest.Range{Addr: kernelMap + 0xf0000, Buf: make([]byte, 64<<10)}
	unmapped := func() {
		t.Helper()
		if err := g.Read(s.VCPU, []*guest.Range{r}); err != nil || r.Err == nil {
			t.Errorf("the kernel's map is read as virtual memory: %v, %v", err, r.Err)
		}
	}
	unmapped()
	distance := uint64(kernelMap)
	if err := g.ReadImage(-distance, []*guest.Range{r}); err != nil || r.Err != nil || !bytes.Equal(r.Buf, image) {
		t.Errorf("%v, %v", err, r.Err)
	}
	unmapped()
	g.c.order("Qqemu.PhyMemMode:1")
	if err := g.c.obeyed(); err != nil {
		t.Fatal(err)
	}
	g.Close()
	g = m.dial(t)
	unmapped()
}
