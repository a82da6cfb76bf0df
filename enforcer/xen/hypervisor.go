package xen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Numbers of hypercalls (xen/include/public/xen.h) and of requests to Linux's
// /dev/xen/privcmd (include/uapi/xen/privcmd.h).
const (
	hypercallMemory  = 12 // memory_op
	hypercallVersion = 17 // xen_version
	hypercallHVM     = 34 // hvm_op
	hypercallDomctl  = 36
	hypercallDM      = 41 // dm_op

	privcmdHypercall = 0x305000 // IOCTL_PRIVCMD_HYPERCALL
	privcmdMapBatch  = 0x205004 // IOCTL_PRIVCMD_MMAPBATCH_V2
)

// shared is what Xen reads and writes in hypercalls. It does so at any moment, and the
// kernel must never move it: /dev/xen/hypercall gives such memory.
type shared struct {
	domctl  domctlHeader
	context vcpuContext
	xstate  [8 * pageSize]byte // AVX-512 and AMX make 11 KiB of it
	args    [5]uint64          // of small structs
	dm      dmOp
}

// hypervisor makes hypercalls about one domain, and maps its memory. It is for one goroutine.
type hypervisor struct {
	fd     int // of /dev/xen/privcmd
	mem    *shared
	domain uint16
	calls  int // hypercalls made, mappings of foreign memory included

	release string
	version uint32 // XEN_DOMCTL_INTERFACE_VERSION

	// err is the first that was not expected. From then on nothing is done to the domain
	// but to pause it.
	err error

	pv       bool                // so the numbers of frames mean the same for ever
	areas    [][]byte            // that are mapped
	frames   map[uint64][]byte   // that were asked for, in areas
	foreseen map[uint64][]byte   // that may be
	asked    map[uint64][]uint64 // frames, at the last hit of each trap
	trap     uint64              // that was hit last
}

// open reaches the hypervisor.
func (h *hypervisor) open() {
	fd, err := unix.Open("/dev/xen/privcmd", unix.O_RDWR|unix.O_CLOEXEC, 0)
	h.check("reaching Xen through /dev/xen/privcmd", err)
	h.fd = fd
	fd, err = unix.Open("/dev/xen/hypercall", unix.O_RDWR|unix.O_CLOEXEC, 0)
	h.check("reaching /dev/xen/hypercall", err)
	mem, err := unix.MmapPtr(fd, 0, nil, unsafe.Sizeof(*h.mem), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	h.check("getting memory for hypercalls", err)
	_ = unix.Close(fd)
	if h.err != nil {
		return
	}
	h.mem = (*shared)(mem)
	n, err := h.call(hypercallVersion, 0) // XENVER_version
	h.check("asking Xen for its version", err)
	h.release = fmt.Sprintf("%d.%d", n>>16, n&0xffff)
	h.version = versions[h.release]
	// Xen refuses every other version, and 0, with EACCES, before it looks at anything else.
	_, err = h.info()
	h.check(fmt.Sprintf("xen %s is not known here, or does not take the domctl interface %#x", h.release, h.version), err)
}

func (h *hypervisor) close() error {
	h.drop()
	_ = unix.MunmapPtr(unsafe.Pointer(h.mem), unsafe.Sizeof(*h.mem))
	h.mem = new(shared) // which Xen gets no more to see
	fd := h.fd
	h.fd = -1
	return unix.Close(fd)
}

// check keeps the first error.
func (h *hypervisor) check(doing string, err error) {
	if h.err == nil && err != nil {
		h.err = fmt.Errorf("%s: %w", doing, err)
	}
}

// call makes one hypercall (struct privcmd_hypercall). Xen's error numbers are Linux's.
func (h *hypervisor) call(op uint64, args ...uint64) (int, error) {
	c := [6]uint64{op}
	copy(c[1:], args)
	return h.request(privcmdHypercall, unsafe.Pointer(&c), op == hypercallDomctl && h.mem.domctl.number == pauseDomain.number)
}

// request is one to /dev/xen/privcmd. After an error it is made only if it is safe.
func (h *hypervisor) request(what uintptr, arg unsafe.Pointer, safe bool) (int, error) {
	if h.err != nil && !safe {
		return 0, h.err
	}
	h.calls++
	n, err := ioctl(h.fd, what, arg)
	if err == unix.ESRCH {
		err = fmt.Errorf("%w: there is no domain %d", guest.ErrEnded, h.domain)
	}
	return n, err
}

func ioctl(fd int, what uintptr, arg unsafe.Pointer) (int, error) {
	n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(arg))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// address is where Xen finds a part of shared.
func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// versions are the releases whose structures are known to be laid out as this package has
// them, with their XEN_DOMCTL_INTERFACE_VERSION.
var versions = map[string]uint32{
	"4.14": 0x12, "4.15": 0x13, "4.16": 0x14, "4.17": 0x15, "4.18": 0x16, "4.19": 0x17, "4.20": 0x17, "4.21": 0x17, "4.22": 0x18,
}

// command is one of struct xen_domctl (xen/include/public/domctl.h), and what it is for.
type command struct {
	number uint32 // XEN_DOMCTL_*
	doing  string
}

var (
	pauseDomain   = command{3, "pausing the domain"}
	unpauseDomain = command{4, "unpausing the domain"}
	getInfo       = command{5, "looking at the domain"}
	putContext    = command{12, "changing a virtual CPU"}
	getContext    = command{13, "looking at a virtual CPU"}
	setDebugging  = command{18, "switching debugging"}
	setEvents     = command{56, "switching events"}
	putXstate     = command{62, "changing the extended state of a virtual CPU"}
	getXstate     = command{63, "looking at the extended state of a virtual CPU"}
	setMonitor    = command{77, "asking for events"}
	pauseVCPU     = command{1001, "pausing a virtual CPU"}   // gdbsx_pausevcpu
	unpauseVCPU   = command{1002, "unpausing a virtual CPU"} // gdbsx_unpausevcpu
	getBreakpoint = command{1003, "asking for breakpoints"}  // gdbsx_domstatus
)

// domctlHeader is struct xen_domctl.
type domctlHeader struct {
	number, version uint32
	domain          uint16
	union           [16]uint64
}

// domctl makes one, of which the union begins with arg, and ends as Xen has left it.
func (h *hypervisor) domctl(c command, arg ...uint64) error {
	d := &h.mem.domctl
	*d = domctlHeader{number: c.number, version: h.version, domain: h.domain}
	copy(d.union[:], arg)
	_, err := h.call(hypercallDomctl, address(d))
	return err
}

// do makes one that is not expected to fail.
func (h *hypervisor) do(c command, arg ...uint64) { h.check(c.doing, h.domctl(c, arg...)) }

// pair is what two fields of 32 bits make.
func pair(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }

// info of a domain (struct xen_domctl_getdomaininfo).
type info struct {
	domain   uint16
	_        uint16
	flags    uint16 // the low half of them
	reason   uint8  // of the shutdown: what is above XEN_DOMINF_shutdownshift
	_        [6]uint64
	cpuTime  uint64 // that all virtual CPUs ran, in nanoseconds
	_        uint32
	lastVCPU int32 // max_vcpu_id; -1 if there is none
	_        uint32
	handle   [16]byte
}

const (
	flagDying    = 1 << 0 // XEN_DOMINF_dying
	flagHVM      = 1 << 1
	flagShutdown = 1 << 2

	shutdownSuspend = 2 // SHUTDOWN_suspend: the domain lives on elsewhere
)

func (h *hypervisor) info() (info, error) {
	err := h.domctl(getInfo)
	i := *(*info)(unsafe.Pointer(&h.mem.domctl.union))
	if err == nil && i.domain != h.domain { // Xen gives the next one that there is
		err = fmt.Errorf("%w: there is no domain %d", guest.ErrEnded, h.domain)
	}
	return i, err
}

// vcpuContext is struct vcpu_guest_context (xen/include/public/arch-x86/xen.h).
type vcpuContext struct {
	_       [512]byte
	flags   uint64
	regs    userRegs
	traps   [256][2]uint64 // of PV guests, struct trap_info: vector, flags, cs; address
	_       [21]uint64
	control [8]uint64
	debug   [8]uint64
	_       [5]uint64
	gsBase  uint64 // gs_base_kernel
	_       uint64
}

// space is where the virtual CPU is.
func (c *vcpuContext) space() space { return spaceOf(c.control[0], c.control[3], c.control[4]) }

// inKernel is VGCF_in_kernel, in the flags of a PV guest.
const inKernel = 1 << 2

// userRegs is struct cpu_user_regs (arch-x86/xen-x86_64.h).
type userRegs struct {
	r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8 uint64
	rax, rcx, rdx, rsi, rdi                        uint64
	_                                              uint64
	rip, cs, rflags, rsp, ss                       uint64 // selectors are the low 16 bits
	_                                              [4]uint64
}

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
