package xen

import (
	"encoding/binary"
	"fmt"
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
