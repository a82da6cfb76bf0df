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

// Numbers of hypercalls (xen/include/public/xen.h) and of requests to Linux's /dev/xen/privcmd
// (include/uapi/xen/privcmd.h).
const (
	hypercallMemory  = 12 // memory_op
	hypercallVersion = 17 // xen_version
	hypercallHVM     = 34 // hvm_op
	hypercallDomctl  = 36
	hypercallDM      = 41 // dm_op

	privcmdHypercall = 0x305000 // IOCTL_PRIVCMD_HYPERCALL
	privcmdMapBatch  = 0x205004 // IOCTL_PRIVCMD_MMAPBATCH_V2
)

// shared is memory that Xen reads and writes in hypercalls. The kernel must never move it, so it
// comes from /dev/xen/hypercall.
type shared struct {
	domctl  domctlHeader
	context vcpuContext
	xstate  [8 * pageSize]byte // with AVX-512 and AMX it has 11 KiB
	args    [5]uint64          // small structs
	dm      dmOp
}

// hypervisor makes hypercalls about one domain and maps its memory. It is for one goroutine.
type hypervisor struct {
	fd     int // of /dev/xen/privcmd
	mem    *shared
	domain uint16
	calls  int // number of hypercalls and of mapping requests

	release string
	version uint32 // XEN_DOMCTL_INTERFACE_VERSION

	// err is the first unexpected error. After it the domain is only paused.
	err error

	pv         bool                // a PV guest: frame numbers keep their meaning
	areas      [][]byte            // mapped memory
	frames     map[uint64][]byte   // frames in use, in areas
	prefetched map[uint64][]byte   // frames that may be needed
	asked      map[uint64][]uint64 // frames that the last hit of each trap used
	trap       uint64              // the trap that was hit last
}

// open connects to the hypervisor.
func (h *hypervisor) open() {
	fd, err := unix.Open("/dev/xen/privcmd", unix.O_RDWR|unix.O_CLOEXEC, 0)
	h.check("opening /dev/xen/privcmd", err)
	h.fd = fd
	fd, err = unix.Open("/dev/xen/hypercall", unix.O_RDWR|unix.O_CLOEXEC, 0)
	h.check("opening /dev/xen/hypercall", err)
	mem, err := unix.MmapPtr(fd, 0, nil, unsafe.Sizeof(*h.mem), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	h.check("mapping memory for hypercalls", err)
	_ = unix.Close(fd)
	if h.err != nil {
		return
	}
	h.mem = (*shared)(mem)
	n, err := h.call(hypercallVersion, 0) // XENVER_version
	h.check("asking Xen for its version", err)
	h.release = fmt.Sprintf("%d.%d", n>>16, n&0xffff)
	h.version = versions[h.release]
	// Xen rejects every other version, and 0, with EACCES before it does anything else.
	_, err = h.info()
	h.check(fmt.Sprintf("xen %s is not supported, or does not accept version %#x of the domctl interface", h.release, h.version), err)
}

func (h *hypervisor) close() error {
	h.drop()
	_ = unix.MunmapPtr(unsafe.Pointer(h.mem), unsafe.Sizeof(*h.mem))
	h.mem = new(shared) // not shared with Xen any more
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

// request makes one request to /dev/xen/privcmd. After an error it only makes safe ones.
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

// address returns the address of a part of shared.
func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// versions maps the releases whose structures have this package's layout to their
// XEN_DOMCTL_INTERFACE_VERSION.
var versions = map[string]uint32{
	"4.14": 0x12, "4.15": 0x13, "4.16": 0x14, "4.17": 0x15, "4.18": 0x16, "4.19": 0x17, "4.20": 0x17, "4.21": 0x17, "4.22": 0x18,
}

// command is a command of struct xen_domctl (xen/include/public/domctl.h), with a text for errors.
type command struct {
	number uint32 // XEN_DOMCTL_*
	doing  string
}

var (
	pauseDomain   = command{3, "pausing the domain"}
	unpauseDomain = command{4, "unpausing the domain"}
	getInfo       = command{5, "querying the domain"}
	putContext    = command{12, "setting the registers of a vCPU"}
	getContext    = command{13, "reading the registers of a vCPU"}
	setDebugging  = command{18, "switching debugging"}
	setEvents     = command{56, "switching events"}
	putXstate     = command{62, "setting the extended state of a vCPU"}
	getXstate     = command{63, "reading the extended state of a vCPU"}
	setMonitor    = command{77, "asking for events"}
	pauseVCPU     = command{1001, "pausing a vCPU"}         // gdbsx_pausevcpu
	unpauseVCPU   = command{1002, "unpausing a vCPU"}       // gdbsx_unpausevcpu
	getBreakpoint = command{1003, "asking for breakpoints"} // gdbsx_domstatus
)

// domctlHeader is struct xen_domctl.
type domctlHeader struct {
	number, version uint32
	domain          uint16
	union           [16]uint64
}

// domctl executes a command. The union begins with arg, and then holds what Xen returns.
func (h *hypervisor) domctl(c command, arg ...uint64) error {
	d := &h.mem.domctl
	*d = domctlHeader{number: c.number, version: h.version, domain: h.domain}
	copy(d.union[:], arg)
	_, err := h.call(hypercallDomctl, address(d))
	return err
}

// do executes a command that is not expected to fail, and keeps its error.
func (h *hypervisor) do(c command, arg ...uint64) { h.check(c.doing, h.domctl(c, arg...)) }

// pair combines two fields of 32 bits.
func pair(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }

// info is the state of a domain (struct xen_domctl_getdomaininfo).
type info struct {
	domain   uint16
	_        uint16
	flags    uint16 // low half
	reason   uint8  // reason for the shutdown: the bits above XEN_DOMINF_shutdownshift
	_        [6]uint64
	cpuTime  uint64 // of all vCPUs, in nanoseconds
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
	if err == nil && i.domain != h.domain { // Xen returns the next existing one
		err = fmt.Errorf("%w: there is no domain %d", guest.ErrEnded, h.domain)
	}
	return i, err
}

// vcpuContext is struct vcpu_guest_context (xen/include/public/arch-x86/xen.h).
type vcpuContext struct {
	_       [512]byte
	flags   uint64
	regs    userRegs
	traps   [256][2]uint64 // PV guests only; struct trap_info: vector, flags, cs; address
	_       [21]uint64
	control [8]uint64
	debug   [8]uint64
	_       [5]uint64
	gsBase  uint64 // gs_base_kernel
	_       uint64
}

// space returns the vCPU's address space.
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
	frameMask    = 1<<40 - 1 // applied to an entry after a right shift by 12
	cr0Paging    = 1 << 31
	cr4LA57      = 1 << 12
)

// maxFrames is the maximum number of the guest's frames that stay mapped between hits.
const maxFrames = 512

// mapFrames maps frames one after the other: machine frames for a PV guest, guest frames otherwise
// (struct privcmd_mmapbatch_v2). Frame i is not mapped if failed[i] is not 0.
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

// mapFrame maps one frame.
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

// frame returns the content of a frame, starting at the offset that addr has in its page.
//
// A mapping prevents Xen from giving a machine frame to anybody else, so the mapped frame of a PV
// guest stays valid. In other guests, root can exchange the memory behind a frame number with the
// balloon driver. dropStale drops those mappings at the beginning of each hit.
func (h *hypervisor) frame(n, addr uint64) (there []byte, err error) {
	page, asked := h.frames[n]
	if !asked {
		page = h.prefetched[n]
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

// dropStale drops mappings that may be out of date, or are too many.
func (h *hypervisor) dropStale() {
	if !h.pv || len(h.frames) > maxFrames {
		h.drop()
	}
}

func (h *hypervisor) drop() {
	for _, area := range h.areas {
		_ = unix.Munmap(area)
	}
	h.areas = nil
	clear(h.prefetched)
	clear(h.frames)
}

// prefetch begins a hit. It drops stale mappings, and maps at once the frames that the last hit of
// the same trap used, which are most of those that this hit will use.
func (h *hypervisor) prefetch(trap uint64) {
	h.asked[h.trap] = slices.Collect(maps.Keys(h.frames))
	h.dropStale()
	h.trap = trap
	frames := h.asked[trap]
	area, failed, err := h.mapFrames(unix.PROT_READ, frames...)
	if err != nil { // also if frames is empty
		return
	}
	h.areas = append(h.areas, area)
	for i, n := range frames {
		if failed[i] == 0 {
			h.prefetched[n] = area[i*pageSize:][:pageSize]
		}
	}
}

var errNotMapped = errors.New("not mapped in the guest")

// space is an address space of the guest.
type space struct {
	root   uint64 // cr3
	levels int    // levels of page tables: 4 or 5; 0 without paging
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

// translate returns the frame at an address according to the guest's page tables.
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

// read fills the ranges as an address space maps them.
func (h *hypervisor) read(s space, ranges ...*guest.Range) {
	h.fill(ranges, func(addr uint64) (uint64, error) { return h.translate(s, addr) })
}

// fill fills the ranges, each on its own, from the frames that find returns for addresses.
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

// expect returns an error unless the frame holds code at the offset that addr has in its page.
func (h *hypervisor) expect(frame, addr uint64, code []byte) error {
	there, err := h.frame(frame, addr)
	if err == nil && !bytes.HasPrefix(there, code) {
		err = fmt.Errorf("at %#x: found % x, want % x", addr, there[:min(len(there), len(code))], code)
	}
	return err
}

// write writes b, within one page, at the offset that addr has in its page.
func (h *hypervisor) write(frame, addr uint64, b []byte) {
	page, err := h.mapFrame(frame, unix.PROT_READ|unix.PROT_WRITE)
	if h.check("writing the guest's memory", err); err != nil {
		return
	}
	copy(page[addr%pageSize:], b)
	_ = unix.Munmap(page)
}
