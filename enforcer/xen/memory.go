package xen

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// Bits of page table entries and control registers (Intel SDM volume 3, 4.5).
const (
	entryPresent = 1 << 0
	entryLarge   = 1 << 7
	frameMask    = 1<<40 - 1 // of an entry shifted right by 12
	cr4LA57      = 1 << 12
	cr0Paging    = 1 << 31
)

// maxFrames bounds the guest's frames that are mapped at a time.
const maxFrames = 512

// memory is a guest's, reached by mapping its frames: machine frames of a PV guest,
// guest frames of others.
//
// A mapping keeps a machine frame from being given to anybody else, so one of a PV
// guest's is good for as long as it lasts. The frame of another guest can be exchanged
// below its number, by its root with the balloon driver: forget drops such mappings,
// and is called at the beginning of each hit.
type memory struct {
	h      *hypervisor
	domain uint16
	fixed  bool // frame numbers mean the same for ever
	frames map[uint64][]byte
}

// mapFrame maps one frame (struct privcmd_mmapbatch_v2).
func (m *memory) mapFrame(frame uint64, write bool) ([]byte, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	page, err := unix.Mmap(m.h.fd, 0, pageSize, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping frame %#x of the guest: %w", frame, err)
	}
	var failed int32
	batch := struct {
		num  uint32
		dom  uint16
		addr *byte
		arr  *uint64
		err  *int32
	}{1, m.domain, &page[0], &frame, &failed}
	m.h.calls++
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(m.h.fd), privcmdMapBatch, uintptr(unsafe.Pointer(&batch)))
	if failed < 0 {
		e = unix.Errno(-failed)
	}
	if e != 0 {
		_ = unix.Munmap(page)
		return nil, fmt.Errorf("mapping frame %#x of the guest: %w", frame, e)
	}
	return page, nil
}

func (m *memory) frame(n uint64) ([]byte, error) {
	if page := m.frames[n]; page != nil {
		return page, nil
	}
	if len(m.frames) >= maxFrames {
		m.drop()
	}
	page, err := m.mapFrame(n, false)
	if err == nil {
		m.frames[n] = page
	}
	return page, err
}

// forget drops what may not mean the same any more.
func (m *memory) forget() {
	if !m.fixed {
		m.drop()
	}
}

func (m *memory) drop() {
	for n, page := range m.frames {
		_ = unix.Munmap(page)
		delete(m.frames, n)
	}
}

// space is an address space of the guest.
type space struct {
	root   uint64 // cr3
	levels int    // of its page tables: 4 or 5
}

var errNotMapped = errors.New("not mapped in the guest")

// translate gives the frame at an address, by the guest's own page tables.
func (m *memory) translate(s space, addr uint64) (uint64, error) {
	shift := 12 + 9*s.levels - 1
	if top := int64(addr) >> shift; top != 0 && top != -1 {
		return 0, errNotMapped // not canonical
	}
	frame := s.root >> 12 & frameMask
	for level := s.levels - 1; level >= 0; level-- {
		table, err := m.frame(frame)
		if err != nil {
			return 0, err
		}
		entry := le.Uint64(table[addr>>(12+9*level)&511*8:])
		if entry&entryPresent == 0 {
			return 0, errNotMapped
		}
		frame = entry >> 12 & frameMask
		if level > 0 && level <= 2 && entry&entryLarge != 0 {
			below := uint64(1)<<(9*level) - 1
			return frame&^below | addr>>12&below, nil
		}
	}
	return frame, nil
}

// read fills the ranges, each on its own.
func (m *memory) read(s space, ranges []guest.Range) {
	for i := range ranges {
		r := &ranges[i]
		r.Err = nil
		for done := 0; done < len(r.Buf) && r.Err == nil; {
			addr := r.Addr + uint64(done)
			var page []byte
			frame, err := m.translate(s, addr)
			if err == nil {
				page, err = m.frame(frame)
			}
			if err != nil {
				r.Err = fmt.Errorf("guest memory at %#x: %w", addr, err)
				break
			}
			done += copy(r.Buf[done:], page[addr%pageSize:])
		}
	}
}

// move reads or writes bytes that lie in one page.
func (m *memory) move(s space, addr uint64, b []byte, write bool) error {
	frame, err := m.translate(s, addr)
	if err == nil {
		err = m.access(frame, addr, b, write)
	}
	if err != nil {
		return fmt.Errorf("guest memory at %#x: %w", addr, err)
	}
	return nil
}

// readFrame reads what lies in a frame, at the place of an address in its page, as it is
// now.
func (m *memory) readFrame(frame, addr uint64, b []byte) error {
	return m.access(frame, addr, b, false)
}

// write changes it.
func (m *memory) write(frame, addr uint64, b []byte) error {
	return m.access(frame, addr, b, true)
}

func (m *memory) access(frame, addr uint64, b []byte, write bool) error {
	at := int(addr % pageSize)
	if at+len(b) > pageSize {
		return fmt.Errorf("%d bytes at %#x lie in two pages", len(b), addr)
	}
	page, err := m.mapFrame(frame, write)
	if err != nil {
		return err
	}
	if write {
		copy(page[at:], b)
	} else {
		copy(b, page[at:])
	}
	return unix.Munmap(page)
}
