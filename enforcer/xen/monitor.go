package xen

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// trap is an instruction that Xen can intercept.
type trap struct {
	name   string
	event  uint32 // XEN_DOMCTL_MONITOR_EVENT_*
	reason uint32 // VM_EVENT_REASON_*
	vector uint8  // vector of the instruction's own exception; 0 if it has none
	code   []byte
}

// traps lists the traps in order of preference. If Xen does not intercept the instruction, because
// nobody has it watch the guest, the function still must not run. So STR and ICEBP are followed by
// a jump back. INT3 then raises an exception that the kernel does not survive.
var traps = []trap{
	{"str", 9, 13, 0, []byte{0x0f, 0x00, 0xc8, 0xeb, 0xfb}},         // str %eax: programs do not need it
	{"int3", 3, 6, vectorBP, breakpoint},                            // the kernel also uses it for probes and for patching itself
	{"icebp", 5, 9, vectorDB, []byte{0xf1, 0xeb, 0xfd, 0x66, 0x90}}, // meant for hardware debuggers
}

const (
	// Of struct xen_domctl_monitor_op: op, event, options.
	monitorEnable       = 0 // XEN_DOMCTL_MONITOR_OP_ENABLE
	monitorDisable      = 1
	monitorCapabilities = 2 // returns a bit for each event
	stopVCPU            = 1 // debug_exception.sync; other events always stop the vCPU

	// Of struct xen_domctl_vm_event_op: op, mode; enabling returns a port.
	eventEnable  = 0 // XEN_VM_EVENT_ENABLE
	eventDisable = 1
	eventMonitor = 2 // XEN_DOMCTL_VM_EVENT_OP_MONITOR

	eventVersion = 7 // VM_EVENT_INTERFACE_VERSION

	flagVCPUPaused   = 1 << 0 // VM_EVENT_FLAG_VCPU_PAUSED
	flagEmulate      = 1 << 2
	flagSetRegisters = 1 << 8

	evtchnBind   = 0x84501 // IOCTL_EVTCHN_BIND_INTERDOMAIN (include/uapi/xen/evtchn.h)
	evtchnNotify = 0x44504 // IOCTL_EVTCHN_NOTIFY
)

// event is vm_event_request_t, with a struct vm_event_debug, and vm_event_response_t
// (xen/include/public/vm_event.h).
type event struct {
	version, flags, reason, vcpu uint32
	_                            [2]uint64
	pending                      uint64 // pending_dbg
	length                       uint32 // insn_length
	kind                         uint8  // type
	_                            [11]byte
	regs                         eventRegs
}

// eventRegs is struct vm_event_regs_x86.
type eventRegs struct {
	rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rflags, dr6, dr7, rip                  uint64
	cr0, cr2, cr3, cr4                     uint64
	_                                      [138]byte
	cs                                     uint16 // cs_sel
	_                                      [12]byte
}

func (u *eventRegs) registers() guest.Registers {
	return guest.Registers{RDI: u.rdi, RSI: u.rsi, RDX: u.rdx, RCX: u.rcx, R8: u.r8, R9: u.r9, RSP: u.rsp, RIP: u.rip, CS: u.cs}
}

// slots is the number of events in the ring: as many as fit into a page, rounded down to a power of
// two. A vCPU waits with one event at most. Answers without a request (see continueVCPU) are at
// most one per vCPU ahead of the requests. So with no more vCPUs than slots, no answer overwrites a
// request that was not taken yet. With more vCPUs, Xen would also queue vCPUs outside the ring, and
// could not disable the ring then.
const slots = 8

// ring is vm_event_sring_t (DEFINE_RING_TYPES of xen/include/public/io/ring.h).
type ring struct {
	requests, wake     uint32 // req_prod; req_event: Xen notifies us at this request
	responses, wakeXen uint32
	_                  [48]byte
	slots              [slots]event
}

// monitor is Xen's facility for watching guests from outside. A vCPU that reaches a trap waits for
// the answer, and the others run. Events and answers go through a ring, and an event channel
// announces events.
type monitor struct {
	g        *Guest
	trap     trap
	ring     *ring
	fd       int // of /dev/xen/evtchn
	port     uint32
	consumed uint32 // number of requests taken
	last     *event // the last hit
}

func newMonitor(g *Guest, name string) *monitor {
	g.do(setMonitor, monitorCapabilities)
	can := g.mem.domctl.union[0] >> 32
	for _, t := range traps {
		if (name == "" || name == t.name) && can>>t.event&1 != 0 && g.release != "4.14" { // its events have version 6
			return &monitor{g: g, trap: t, fd: -1}
		}
	}
	g.check("watching it", fmt.Errorf("xen %s cannot intercept the trap %q on this machine (its events are %#x)", g.release, name, can))
	return &monitor{fd: -1}
}

// attach makes every vCPU that waits for an answer hit its trap again. It replaces a ring that
// another process left behind.
func (m *monitor) attach() {
	m.g.mem.args = [5]uint64{pair(uint32(m.g.domain), paramMonitorRing)} // struct xen_hvm_param: domid, index, value
	_, err := m.g.call(hypercallHVM, hvmGetParam, address(&m.g.mem.args))
	m.g.check("asking for the frame of the event ring", err)
	frame := m.g.mem.args[1]
	page, err := m.g.mapFrame(frame, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil { // it was taken from the guest earlier
		m.g.moveFrame(memoryPopulate, frame)
		page, err = m.g.mapFrame(frame, unix.PROT_READ|unix.PROT_WRITE)
	}
	if m.g.check("creating the event ring", err); err != nil {
		return
	}
	m.ring = (*ring)(unsafe.Pointer(&page[0]))
	*m.ring = ring{wake: 1, wakeXen: 1}
	_ = m.g.domctl(setEvents, pair(eventDisable, eventMonitor)) // also ends all monitoring
	m.g.do(setEvents, pair(eventEnable, eventMonitor))
	remote := uint32(m.g.mem.domctl.union[1])
	fd, err := unix.Open("/dev/xen/evtchn", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	m.g.check("opening /dev/xen/evtchn", err)
	port, err := ioctl(fd, evtchnBind, unsafe.Pointer(&[2]uint32{uint32(m.g.domain), remote}))
	m.g.check("binding an event channel", err)
	m.fd, m.port = fd, uint32(port)
	m.g.moveFrame(memoryDecrease, frame) // the guest must not reach the ring
	m.g.do(setMonitor, pair(monitorEnable, m.trap.event), stopVCPU)
	for v := range m.g.vcpus {
		m.continueVCPU(v)
	}
}

// detach lets the waiting vCPUs continue at the place of the removed trap.
func (m *monitor) detach() {
	if s := m.g.last; s.Hit {
		m.continueVCPU(s.VCPU)
	}
	for e := m.take(); e != nil; e = m.take() {
		m.respond(e, flagVCPUPaused)
	}
	m.g.do(setMonitor, pair(monitorDisable, m.trap.event), stopVCPU) // must come before disabling the ring
	m.g.do(setEvents, pair(eventDisable, eventMonitor))
}

// close leaves the ring as it is for the next process.
func (m *monitor) close() {
	_ = unix.Close(m.fd)
	_ = unix.MunmapPtr(unsafe.Pointer(m.ring), pageSize)
}

// next waits for a hit. It checks the ring at least once. It ends when the time is over, because
// events that are not ours may never end.
func (m *monitor) next(until time.Time) (s guest.Stop) {
	for over := false; m.g.err == nil && !over; over = time.Now().After(until) {
		e := m.take()
		switch {
		case e == nil:
			m.wait(until)
		case e.version != eventVersion || int(e.vcpu) >= m.g.vcpus:
			m.g.check("taking an event", fmt.Errorf("it has version %d and vCPU %d", e.version, e.vcpu))
		case !m.g.isOurs(e.regs.rip) || e.reason != m.trap.reason:
			m.giveBack(e)
		case !m.g.isPlanted(e.regs.rip): // the trap was removed meanwhile
			m.respond(e, flagVCPUPaused)
		default:
			m.last = e
			m.g.prefetch(e.regs.rip)
			m.g.space = spaceOf(e.regs.cr0, e.regs.cr3, e.regs.cr4)
			return guest.Stop{VCPU: int(e.vcpu), Hit: true, Regs: e.regs.registers(), At: time.Now()}
		}
	}
	return s
}

// wait waits for the event channel.
func (m *monitor) wait(until time.Time) {
	t := unix.NsecToTimespec(max(0, int64(time.Until(until))))
	n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}, &t, nil)
	if err == unix.EINTR || err == nil && n == 0 {
		return
	}
	var port [4]byte
	if err == nil {
		_, err = unix.Read(m.fd, port[:])
	}
	if err == nil {
		_, err = unix.Write(m.fd, port[:]) // unmasks the port
	}
	m.g.check("waiting for an event", err)
}

// take returns the next event, or nil if there is none.
func (m *monitor) take() *event {
	if m.g.err != nil || atomic.LoadUint32(&m.ring.requests) == m.consumed {
		return nil
	}
	e := m.ring.slots[m.consumed%slots]
	m.consumed++
	atomic.StoreUint32(&m.ring.wake, m.consumed+1)
	return &e
}

// respond puts an answer into the ring and notifies Xen, which handles it at once.
func (m *monitor) respond(e *event, flags uint32) {
	if m.g.err != nil {
		return
	}
	e.version, e.flags = eventVersion, flags
	m.ring.slots[m.ring.responses%slots] = *e
	atomic.AddUint32(&m.ring.responses, 1)
	_, err := ioctl(m.fd, evtchnNotify, unsafe.Pointer(&m.port))
	m.g.check("notifying Xen", err)
}

// continueVCPU lets a waiting vCPU continue where it is.
func (m *monitor) continueVCPU(vcpu int) {
	m.respond(&event{vcpu: uint32(vcpu), reason: m.trap.reason}, flagVCPUPaused)
}

// giveBack lets an event have the effect that it has in an unwatched guest: an exception goes to
// the guest, and Xen emulates other instructions.
func (m *monitor) giveBack(e *event) {
	if m.trap.vector == 0 {
		m.respond(e, flagVCPUPaused|flagEmulate)
		return
	}
	m.g.raise(dmOp{vcpu: e.vcpu, vector: m.trap.vector, kind: e.kind, length: uint8(e.length), pending: e.pending})
	m.respond(e, flagVCPUPaused)
}

func (m *monitor) answer(_ *guest.Stop, a guest.Answer) {
	regs := &m.last.regs
	if a.Return {
		regs.rax, regs.rsp = a.RAX, a.RSP
	}
	regs.rip = a.RIP
	m.respond(m.last, flagVCPUPaused|flagSetRegisters)
}

// dmOp is struct xen_dm_op with a struct xen_dm_op_inject_event
// (xen/include/public/hvm/dm_op.h).
type dmOp struct {
	op, _                   uint32
	vcpu                    uint32
	vector, kind, length, _ uint8
	errorCode, _            uint32
	pending                 uint64
}

const (
	dmOpInject = 13         // XEN_DMOP_inject_event
	dmHardware = 3          // XEN_DMOP_EVENT_hw_exc
	dmSoftware = 6          // XEN_DMOP_EVENT_sw_exc
	dmNoError  = 0xffffffff // error_code: none

	hvmGetParam      = 1  // HVMOP_get_param
	paramMonitorRing = 28 // HVM_PARAM_MONITOR_RING_PFN

	memoryDecrease = 1 // XENMEM_decrease_reservation
	memoryPopulate = 6 // XENMEM_populate_physmap
)

// raise injects an exception into a guest that is not PV, as if the processor had raised it.
func (h *hypervisor) raise(op dmOp) {
	op.op, op.errorCode = dmOpInject, dmNoError
	h.mem.dm = op
	h.mem.args = [5]uint64{address(&h.mem.dm), uint64(unsafe.Sizeof(op))} // struct xen_dm_op_buf
	_, err := h.call(hypercallDM, uint64(h.domain), 1, address(&h.mem.args))
	h.check(givingBack, err)
}

// moveFrame adds a frame to the guest or takes one away (struct xen_memory_reservation:
// extent_start, nr_extents, extent_order and mem_flags, domid).
func (h *hypervisor) moveFrame(op, frame uint64) {
	h.mem.args = [5]uint64{address(&h.mem.args[4]), 1, 0, uint64(h.domain), frame}
	n, err := h.call(hypercallMemory, op, address(&h.mem.args))
	if err == nil && n != 1 {
		err = unix.ENOMEM
	}
	h.check("moving a frame of the guest", err)
}
