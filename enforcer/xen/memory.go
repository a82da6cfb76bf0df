package xen

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

const pageSize = 4096

// Bits of page table entries and control registers (Intel SDM volume 3, 4.5).
const (
	entryPresent = 1 << 0
	entryLarge   = 1 << 7
	frameMask    = 1<<40 - 1 // of an entry shifted right by 12
	cr0Paging    = 1 << 31
	cr4LA57      = 1 << 12
)

// maxFrames bounds the guest's frames that stay mapped from one hit to the next.
const maxFrames = 512

// mapFrames maps frames one after the other: machine frames of a PV guest, guest frames of
// another (struct privcmd_mmapbatch_v2). Where failed is not 0 there is nothing.
func (h *hypervisor) mapFrames(prot int, frames ...uint64) (area []byte, failed []int32, err error) {
	if area, err = unix.Mmap(h.fd, 0, len(frames)*pageSize, prot, unix.MAP_SHARED); err != nil {
		return nil, nil, err
	}
	failed = make([]int32, len(frames))
	batch := struct {
		number uint32
		domain uint16
		area   *byte
		frames *uint64
		failed *int32
	}{uint32(len(frames)), h.domain, &area[0], &frames[0], &failed[0]}
	if _, err = h.request(privcmdMapBatch, unsafe.Pointer(&batch), false); err != nil {
		_ = unix.Munmap(area)
	}
	return area, failed, err
}

// mapFrame maps one.
func (h *hypervisor) mapFrame(frame uint64, prot int) ([]byte, error) {
	page, failed, err := h.mapFrames(prot, frame)
	if err == nil && failed[0] != 0 {
		_ = unix.Munmap(page)
		err = unix.Errno(-failed[0])
	}
	if err != nil {
		return nil, fmt.Errorf("mapping frame %#x of the guest: %w", frame, err)
	}
	return page, nil
}

// frame gives what lies in a frame, from the place of an address in its page on.
//
// A mapping keeps a machine frame from being given to anybody else, so one of a PV
// guest's is good for as long as it lasts. The frame of another guest can be exchanged
// below its number, by its root with the balloon driver: forget drops such mappings,
// and is called at the beginning of each hit.
func (h *hypervisor) frame(n, addr uint64) (there []byte, err error) {
	page, asked := h.frames[n]
	if !asked {
		page = h.foreseen[n]
	}
	if page == nil {
		if page, err = h.mapFrame(n, unix.PROT_READ); err != nil {
			return nil, err
		}
		h.areas = append(h.areas, page)
	}
	h.frames[n] = page
	return page[addr%pageSize:], nil
}

// forget drops what may not mean the same any more, or is too much.
func (h *hypervisor) forget() {
	if !h.pv || len(h.frames) > maxFrames {
		h.drop()
	}
}

func (h *hypervisor) drop() {
	for _, area := range h.areas {
		_ = unix.Munmap(area)
	}
	h.areas = nil
	clear(h.foreseen)
	clear(h.frames)
}

// foresee begins a hit: it forgets, and maps anew, all at once, what was asked for at the last
// hit of the same trap, which is most of what will be.
func (h *hypervisor) foresee(trap uint64) {
	h.asked[h.trap] = slices.Collect(maps.Keys(h.frames))
	h.forget()
	h.trap = trap
	frames := h.asked[trap]
	area, failed, err := h.mapFrames(unix.PROT_READ, frames...)
	if err != nil { // or there are none
		return
	}
	h.areas = append(h.areas, area)
	for i, n := range frames {
		if failed[i] == 0 {
			h.foreseen[n] = area[i*pageSize:][:pageSize]
		}
	}
}

var errNotMapped = errors.New("not mapped in the guest")

// space is an address space of the guest.
type space struct {
	root   uint64 // cr3
	levels int    // of its page tables: 4 or 5, 0 if there are none
}

func spaceOf(cr0, cr3, cr4 uint64) space {
	switch {
	case cr0&cr0Paging == 0:
		return space{}
	case cr4&cr4LA57 != 0:
		return space{cr3, 5}
	}
	return space{cr3, 4}
}

// translate gives the frame at an address, by the guest's own page tables.
func (h *hypervisor) translate(s space, addr uint64) (uint64, error) {
	if top := int64(addr) >> (11 + 9*s.levels); s.levels == 0 || top != 0 && top != -1 {
		return 0, errNotMapped // not canonical
	}
	frame := s.root >> 12 & frameMask
	for level := s.levels - 1; level >= 0; level-- {
		table, err := h.frame(frame, addr>>(12+9*level)&511*8)
		if err != nil {
			return 0, err
		}
		entry := le.Uint64(table)
		if entry&entryPresent == 0 {
			return 0, errNotMapped
		}
		frame = entry >> 12 & frameMask
		if (level == 1 || level == 2) && entry&entryLarge != 0 {
			below := uint64(1)<<(9*level) - 1
			return frame&^below | addr>>12&below, nil
		}
	}
	return frame, nil
}

// read fills the ranges as an address space has them.
func (h *hypervisor) read(s space, ranges ...*guest.Range) {
	h.fill(ranges, func(addr uint64) (uint64, error) { return h.translate(s, addr) })
}

// fill fills the ranges, each on its own, from the frames that find gives for addresses.
func (h *hypervisor) fill(ranges []*guest.Range, find func(addr uint64) (uint64, error)) {
	for _, r := range ranges {
		r.Err = nil
		for done := 0; done < len(r.Buf) && r.Err == nil; {
			addr := r.Addr + uint64(done)
			frame, err := find(addr)
			var there []byte
			if err == nil {
				there, err = h.frame(frame, addr)
			}
			if err != nil {
				r.Err = fmt.Errorf("guest memory at %#x: %w", addr, err)
			}
			done += copy(r.Buf[done:], there)
		}
	}
}

// expect compares what lies in a frame, at the place of an address in its page.
func (h *hypervisor) expect(frame, addr uint64, code []byte) error {
	there, err := h.frame(frame, addr)
	if err == nil && !bytes.HasPrefix(there, code) {
		err = fmt.Errorf("at %#x lies % x, not % x", addr, there[:min(len(there), len(code))], code)
	}
	return err
}

// write changes what lies there, in one page.
func (h *hypervisor) write(frame, addr uint64, b []byte) {
	page, err := h.mapFrame(frame, unix.PROT_READ|unix.PROT_WRITE)
	if h.check("changing the guest's memory", err); err != nil {
		return
	}
	copy(page[addr%pageSize:], b)
	_ = unix.Munmap(page)
}
