// Package guesttest implements a guest for tests: memory, registers, and calls of functions that
// happen when the guest runs. The guest executes no instructions. The test decides what a kernel
// would do after an answer.
package guesttest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const page = 4096

// ErrFault is the error for memory that does not exist.
var ErrFault = errors.New("no memory there")

// An Event is something that happens in the guest. It returns the registers of a vCPU at the moment
// at which the vCPU reaches the address in RIP.
type Event func(*Guest) (vcpu int, regs guest.Registers)

// Guest implements guest.Guest in memory. Its fields may be read and set while the guest does not
// run.
type Guest struct {
	Events   []Event // what happens, in order; the guest ends after the last one
	CPUs     []guest.Registers
	Moved    bool // the next Answer returns ErrMoved, and its hit happens again
	last     Event
	New      bool   // the guest has not run yet
	ID       string // Identity
	Traps    []uint64
	Answers  []guest.Answer    // all answers so far
	Missed   []guest.Registers // events at addresses without a trap
	Frozen   bool
	Free     bool   // Release was called
	Fail     error  // if set, the error of every call
	Reads    int    // number of exchanges
	Nop      []byte // what Plant must find where it sets a trap; nil for anything
	MaxTraps int    // 0 for any number
	Plants   int    // number of calls of Plant

	memory map[uint64]*[page]byte
}

var _ guest.Guest = (*Guest)(nil)

// New returns a stopped guest with one vCPU at its reset vector.
func New() *Guest {
	return &Guest{
		CPUs: []guest.Registers{{RIP: 0xfff0, CS: 0xf000}}, New: true, ID: "test",
		memory: map[uint64]*[page]byte{},
	}
}

// Write writes bytes at an address. It adds memory there if there was none.
func (g *Guest) Write(addr uint64, b []byte) {
	for i, v := range b {
		at := addr + uint64(i)
		p := g.memory[at/page]
		if p == nil {
			p = new([page]byte)
			g.memory[at/page] = p
		}
		p[at%page] = v
	}
}

// Do appends events.
func (g *Guest) Do(events ...Event) { g.Events = append(g.Events, events...) }

// Fresh implements guest.Guest.
func (g *Guest) Fresh() (bool, error) { return g.New, g.Fail }

// Hold implements guest.Guest: the traps are not in the kernel's code.
func (g *Guest) Hold(uint64, []byte) error { return errors.ErrUnsupported }

// Adopt implements guest.Guest.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	for _, a := range addrs {
		if slices.Contains(g.Traps, a) {
			found = append(found, a)
		}
	}
	g.Traps = slices.DeleteFunc(g.Traps, func(a uint64) bool { return slices.Contains(addrs, a) })
	return found, g.Fail
}

// Plant implements guest.Guest.
func (g *Guest) Plant(addrs []uint64) error {
	g.Traps = nil
	g.Plants++
	if g.MaxTraps > 0 && len(addrs) > g.MaxTraps {
		return fmt.Errorf("planting %d traps, but there can be only %d", len(addrs), g.MaxTraps)
	}
	for _, a := range addrs {
		if there := make([]byte, len(g.Nop)); g.read(a, there) != nil || !bytes.Equal(there, g.Nop) {
			return fmt.Errorf("planting at %#x: %w", a, guest.ErrNotYet)
		}
	}
	g.Traps = slices.Clone(addrs)
	return g.Fail
}

// Run runs events until one reaches a trap. With a limit, it also returns when an event reaches
// another address. Without one, it counts that event as Missed.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	g.New = false
	for len(g.Events) > 0 && g.Fail == nil {
		e := g.Events[0]
		g.Events, g.last = g.Events[1:], e
		vcpu, regs := e(g)
		for len(g.CPUs) <= vcpu {
			g.CPUs = append(g.CPUs, guest.Registers{})
		}
		g.CPUs[vcpu] = regs
		s := guest.Stop{VCPU: vcpu, Hit: slices.Contains(g.Traps, regs.RIP), Regs: regs, At: time.Now()}
		if s.Hit || limit > 0 {
			return s, nil
		}
		g.Missed = append(g.Missed, regs)
	}
	if g.Fail != nil {
		return guest.Stop{}, g.Fail
	}
	return guest.Stop{}, fmt.Errorf("running: %w", guest.ErrEnded)
}

// Read implements guest.Guest.
func (g *Guest) Read(_ int, ranges []*guest.Range) error {
	g.Reads++
	for _, r := range ranges {
		r.Err = g.read(r.Addr, r.Buf)
	}
	return g.Fail
}

func (g *Guest) read(addr uint64, buf []byte) error {
	for i := range buf {
		at := addr + uint64(i)
		p := g.memory[at/page]
		if p == nil {
			return ErrFault
		}
		buf[i] = p[at%page]
	}
	return nil
}

// ReadImage implements guest.Guest.
func (g *Guest) ReadImage(_ uint64, ranges []*guest.Range) error { return g.Read(0, ranges) }

// Trapped implements guest.Guest.
func (g *Guest) Trapped() int { return len(g.CPUs) }

// VCPUs implements guest.Guest.
func (g *Guest) VCPUs() ([]guest.Registers, error) { return slices.Clone(g.CPUs), g.Fail }

// Answer implements guest.Guest.
func (g *Guest) Answer(_ *guest.Stop, a guest.Answer) error {
	if g.Moved && g.Fail == nil {
		g.Moved, g.Events = false, append([]Event{g.last}, g.Events...)
		return guest.ErrMoved
	}
	g.Answers = append(g.Answers, a)
	return g.Fail
}

// Freeze implements guest.Guest.
func (g *Guest) Freeze() error {
	g.Frozen = true
	return g.Fail
}

// Release implements guest.Guest.
func (g *Guest) Release() error {
	g.Traps, g.Free = nil, true
	return g.Fail
}

// Close implements guest.Guest.
func (g *Guest) Close() error { return nil }

// Identity implements guest.Guest.
func (g *Guest) Identity() string { return g.ID }
