package xen

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// Layout of vm_event_request_t and, in it, of struct vm_event_regs_x86
// (xen/include/public/vm_event.h, interface version 7).
const (
	eventSize   = 400
	eventUnion  = 24
	eventPend   = eventUnion + 8  // struct vm_event_debug: pending_dbg
	eventLength = eventUnion + 16 // insn_length
	eventType   = eventUnion + 20 // type

	eventRegs   = 56
	eventRAX    = eventRegs
	eventRSP    = eventRegs + 32
	eventRFLAGS = eventRegs + 128
	eventRIP    = eventRegs + 152
	eventCR3    = eventRegs + 176
	eventCR4    = eventRegs + 184
	eventCS     = eventRegs + 330

	flagVCPUPaused   = 1 << 0
	flagEmulate      = 1 << 2
	flagSetRegisters = 1 << 8
)

// event is one, as it lies in the ring.
type event struct {
	version, flags, reason uint32
	vcpu                   int
	raw                    [eventSize]byte
}

func (e *event) get(at int) uint64    { return le.Uint64(e.raw[at:]) }
func (e *event) set(at int, v uint64) { le.PutUint64(e.raw[at:], v) }
func (e *event) rip() uint64          { return e.get(eventRIP) }
func (e *event) pending() uint64      { return e.get(eventPend) }
func (e *event) kind() byte           { return e.raw[eventType] }
func (e *event) insnLength() byte     { return e.raw[eventLength] }

func (e *event) space() space {
	if e.get(eventCR4)&cr4LA57 != 0 {
		return space{e.get(eventCR3), 5}
	}
	return space{e.get(eventCR3), 4}
}

func (e *event) registers() (r guest.Registers) {
	for i, to := range []*uint64{
		&r.RAX, &r.RCX, &r.RDX, &r.RBX, &r.RSP, &r.RBP, &r.RSI, &r.RDI,
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15,
	} {
		*to = e.get(eventRegs + 8*i)
	}
	r.RIP, r.RFLAGS = e.rip(), e.get(eventRFLAGS)
	r.CS = le.Uint16(e.raw[eventCS:])
	return r
}

// Layout of the ring (xen/include/public/io/ring.h): counters, then slots, as many as
// fit and are a power of two.
const (
	ringRequests  = 0 // req_prod
	ringWake      = 4 // req_event: wake us at this request
	ringResponses = 8 // rsp_prod
	ringWakeXen   = 12
	ringSlots     = 64
	ringLen       = 8
)

// Requests to /dev/xen/evtchn (include/uapi/xen/evtchn.h).
const (
	evtchnBind   = 0x84501 // IOCTL_EVTCHN_BIND_INTERDOMAIN
	evtchnNotify = 0x44504 // IOCTL_EVTCHN_NOTIFY
)

// ring is the page that events come in, and answers go back, and the event channel that
// tells of them.
type ring struct {
	g                   *Guest
	page                []byte
	fd                  int
	port                uint32
	requests, responses uint32 // taken, given
	last                *event
}

func openRing(g *Guest) (*ring, error) {
	r := &ring{g: g}
	frame, err := g.h.hvmParam(g.domain, paramMonitorRing)
	if err != nil {
		return nil, fmt.Errorf("asking where the monitor's ring is: %w", err)
	}
	if r.page, err = g.m.mapFrame(frame, true); err != nil { // taken from the guest before
		if err := g.h.memoryOp(g.domain, memoryPopulate, frame); err != nil {
			return nil, fmt.Errorf("making the monitor's ring: %w", err)
		}
		if r.page, err = g.m.mapFrame(frame, true); err != nil {
			return nil, err
		}
	}
	clear(r.page)
	le.PutUint32(r.page[ringWake:], 1)
	le.PutUint32(r.page[ringWakeXen:], 1)
	err = g.domctl(domctlVMEvent, eventEnable, eventMonitor)
	if err == unix.EBUSY { // of a process that died
		if err = g.domctl(domctlVMEvent, eventDisable, eventMonitor); err == nil {
			err = g.domctl(domctlVMEvent, eventEnable, eventMonitor)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("switching the monitor on: %w", err)
	}
	remote := le.Uint32(g.h.union()[8:])
	// The guest must not reach the ring.
	if err := g.h.memoryOp(g.domain, memoryDecrease, frame); err != nil {
		return nil, fmt.Errorf("taking the monitor's ring from the guest: %w", err)
	}
	if r.fd, err = unix.Open("/dev/xen/evtchn", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("reaching event channels: %w", err)
	}
	bind := [2]uint32{uint32(g.domain), remote}
	port, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(r.fd), evtchnBind, uintptr(unsafe.Pointer(&bind)))
	if e != 0 {
		return nil, fmt.Errorf("binding the monitor's event channel: %w", e)
	}
	r.port = uint32(port)
	return r, nil
}

func (r *ring) counter(at int) *uint32 { return (*uint32)(unsafe.Pointer(&r.page[at])) }

// take gives the next event, nil if there is none. It is good until the next call.
func (r *ring) take() *event {
	if atomic.LoadUint32(r.counter(ringRequests)) == r.requests {
		return nil
	}
	e := &event{}
	copy(e.raw[:], r.page[ringSlots+eventSize*(r.requests%ringLen):])
	e.version, e.flags, e.reason = le.Uint32(e.raw[0:]), le.Uint32(e.raw[4:]), le.Uint32(e.raw[8:])
	e.vcpu = int(le.Uint32(e.raw[12:]))
	r.requests++
	atomic.StoreUint32(r.counter(ringWake), r.requests+1)
	r.last = e
	return e
}

// respond puts an answer into the ring.
func (r *ring) respond(e *event, flags uint32) {
	le.PutUint32(e.raw[0:], eventVersion)
	le.PutUint32(e.raw[4:], flags)
	le.PutUint32(e.raw[8:], e.reason)
	le.PutUint32(e.raw[12:], uint32(e.vcpu))
	copy(r.page[ringSlots+eventSize*(r.responses%ringLen):], e.raw[:])
	r.responses++
	atomic.StoreUint32(r.counter(ringResponses), r.responses)
}

// notify has Xen look at the answers, which it does at once.
func (r *ring) notify() error {
	port := r.port
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(r.fd), evtchnNotify, uintptr(unsafe.Pointer(&port))); e != 0 {
		return fmt.Errorf("notifying Xen: %w", e)
	}
	return nil
}

// wait waits for the event channel.
func (r *ring) wait(until time.Time) (bool, error) {
	left := time.Until(until)
	if left <= 0 {
		return false, nil
	}
	t := unix.NsecToTimespec(int64(left))
	n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, &t, nil)
	if err == unix.EINTR || err == nil && n == 0 {
		return time.Now().Before(until), nil
	}
	var port [4]byte
	if err == nil {
		_, err = unix.Read(r.fd, port[:])
	}
	if err == nil {
		_, err = unix.Write(r.fd, port[:]) // unmasks it
	}
	if err != nil {
		return false, fmt.Errorf("waiting for an event: %w", err)
	}
	return true, nil
}

// close switches the monitor off. Events must not be enabled any more.
func (r *ring) close() error { return r.g.domctl(domctlVMEvent, eventDisable, eventMonitor) }

// giveUp leaves the ring as it is to who comes next.
func (r *ring) giveUp() {
	_ = unix.Close(r.fd)
	_ = unix.Munmap(r.page)
}

// Operations on a guest's memory (xen/include/public/memory.h) and parameters of HVM
// guests (hvm/hvm_op.h, hvm/params.h).
const (
	memoryDecrease   = 1 // XENMEM_decrease_reservation
	memoryPopulate   = 6 // XENMEM_populate_physmap
	hvmGetParam      = 1 // HVMOP_get_param
	paramMonitorRing = 28
)

// memoryOp is one on one frame (struct xen_memory_reservation).
func (h *hypervisor) memoryOp(domain uint16, op, frame uint64) error {
	b := h.buf[atData:]
	le.PutUint64(b[0:], h.addr(atData+64))
	le.PutUint64(b[8:], 1) // frames
	le.PutUint64(b[16:], 0)
	le.PutUint64(b[24:], uint64(domain))
	le.PutUint64(b[64:], frame)
	n, err := h.call(hypercallMemory, op, h.addr(atData))
	if err == nil && n != 1 {
		err = unix.ENOMEM
	}
	return err
}

// hvmParam reads one (struct xen_hvm_param).
func (h *hypervisor) hvmParam(domain uint16, index uint32) (uint64, error) {
	b := h.buf[atData:]
	le.PutUint32(b[0:], uint32(domain))
	le.PutUint32(b[4:], index)
	le.PutUint64(b[8:], 0)
	_, err := h.call(hypercallHVM, hvmGetParam, h.addr(atData))
	return le.Uint64(b[8:]), err
}
