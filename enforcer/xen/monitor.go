package xen

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// trap is an instruction that Xen can be told to stop at.
type trap struct {
	name   string
	event  uint32 // XEN_DOMCTL_MONITOR_EVENT_*
	reason uint32 // VM_EVENT_REASON_*
	sync   uint32 // option of the monitor: stop the virtual CPU
	code   []byte
}

// traps in the order in which they are taken. Those that Xen does not stop at, because
// nobody has it watch, never let the function run: behind the instruction is a jump
// back to it (a breakpoint is an exception that the kernel does not survive).
var traps = []trap{
	{"str", 9, 13, 0, []byte{0x0f, 0x00, 0xc8, 0xeb, 0xfb}},  // str %eax: no program needs it
	{"int3", 3, 6, 0, []byte{0xcc, 0x1f, 0x44, 0x00, 0x00}},  // the kernel has its own, for probes and for patching itself
	{"icebp", 5, 9, 1, []byte{0xf1, 0xeb, 0xfd, 0x66, 0x90}}, // for debuggers of hardware
}

// Operations of struct xen_domctl_monitor_op and struct xen_domctl_vm_event_op.
const (
	monitorEnable       = 0
	monitorDisable      = 1
	monitorCapabilities = 2

	eventEnable  = 0
	eventDisable = 1
	eventMonitor = 2 // XEN_DOMCTL_VM_EVENT_OP_MONITOR

	eventVersion = 7 // the layout of events that this package has
)

// monitor is Xen's facility for watching guests from outside: a virtual CPU that comes to
// a trap waits for the answer, and the others run on.
type monitor struct {
	g    *Guest
	trap trap
	ring *ring
}

func newMonitor(g *Guest, name string) (*monitor, error) {
	if g.h.v.event != eventVersion {
		return nil, fmt.Errorf("the monitor of Xen %s has events of version %d, want %d", g.h.v.release, g.h.v.event, eventVersion)
	}
	if err := g.domctl(domctlMonitor, monitorCapabilities, 0); err != nil {
		return nil, fmt.Errorf("asking what Xen can watch: %w", err)
	}
	can := le.Uint32(g.h.union()[4:])
	for _, t := range traps {
		if (name == "" || name == t.name) && can>>t.event&1 != 0 {
			return &monitor{g: g, trap: t}, nil
		}
	}
	return nil, fmt.Errorf("xen does not stop at the trap %q here (it can watch %#x)", name, can)
}

func (m *monitor) code() []byte { return m.trap.code }

// attach opens the ring and has every virtual CPU that waits for an answer come to the
// trap again. A ring that was left behind is opened anew.
func (m *monitor) attach() (err error) {
	if m.ring, err = openRing(m.g); err != nil {
		return err
	}
	if err := m.watch(monitorEnable); err != nil {
		return err
	}
	for v := range m.g.vcpus {
		m.ring.respond(&event{vcpu: v, reason: m.trap.reason}, flagVCPUPaused)
	}
	return m.ring.notify()
}

func (m *monitor) watch(op uint32) error {
	err := m.g.domctl(domctlMonitor, op, m.trap.event, m.trap.sync)
	if err != nil && !(op == monitorEnable && err == unix.EEXIST) {
		return fmt.Errorf("having Xen watch for %s: %w", m.trap.name, err)
	}
	return nil
}

func (m *monitor) close() {
	if m.ring != nil {
		m.ring.giveUp()
		m.ring = nil
	}
}

// detach lets the virtual CPUs that wait come to where the trap was.
func (m *monitor) detach() error {
	if s := m.g.last; s.Hit {
		m.ring.respond(&event{vcpu: s.VCPU, reason: m.trap.reason}, flagVCPUPaused)
	}
	for e := m.ring.take(); e != nil; e = m.ring.take() {
		m.ring.respond(e, flagVCPUPaused)
	}
	return errors.Join(m.ring.notify(), m.watch(monitorDisable), m.ring.close()) // events before their ring
}

func (m *monitor) next(until time.Time) (s guest.Stop, hit bool, err error) {
	for {
		e := m.ring.take()
		if e == nil {
			if ready, err := m.ring.wait(until); !ready || err != nil {
				return s, false, err
			}
			continue
		}
		if e.version != eventVersion || e.vcpu >= m.g.vcpus {
			return s, false, fmt.Errorf("event of version %d for virtual CPU %d", e.version, e.vcpu)
		}
		_, ours := m.g.traps[e.rip()]
		switch {
		case !ours || e.reason != m.trap.reason:
			if err := m.giveBack(e); err != nil || time.Now().After(until) { // there may be no end of them
				return s, false, err
			}
			continue
		case !m.g.isPlanted(e.rip()): // removed meanwhile
			m.ring.respond(e, flagVCPUPaused)
			if err := m.ring.notify(); err != nil {
				return s, false, err
			}
			continue
		}
		m.g.m.forget()
		m.g.space = e.space()
		return guest.Stop{VCPU: e.vcpu, Hit: true, Regs: e.registers(), At: time.Now()}, true, nil
	}
}

// giveBack lets an event be what it would be if nobody watched: the exception goes to
// the guest, other instructions are carried out by Xen.
func (m *monitor) giveBack(e *event) error {
	flags := uint32(flagVCPUPaused)
	switch m.trap.name {
	case "str":
		flags |= flagEmulate
	case "int3":
		if err := m.g.h.injectEvent(m.g.domain, e.vcpu, vectorBP, dmSoftware, e.insnLength(), 0); err != nil {
			return err
		}
	case "icebp":
		if err := m.g.h.injectEvent(m.g.domain, e.vcpu, vectorDB, e.kind(), e.insnLength(), e.pending()); err != nil {
			return err
		}
	}
	m.ring.respond(e, flags)
	return m.ring.notify()
}

func (m *monitor) answer(s *guest.Stop, a guest.Answer) error {
	e := m.ring.last
	if e.vcpu != s.VCPU || e.rip() != s.Regs.RIP {
		return errors.New("the last event is of another virtual CPU")
	}
	if a.Return {
		e.set(eventRAX, a.RAX)
		e.set(eventRSP, a.RSP)
	}
	e.set(eventRIP, a.RIP)
	m.ring.respond(e, flagVCPUPaused|flagSetRegisters)
	return m.ring.notify()
}
