// Package guesttest is a guest for tests: memory, registers, and calls of functions
// that happen when the guest is let run. It has no instructions; what a kernel would
// do after an answer is the test's to say.
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

// ErrFault is what reading memory that is not there gives.
var ErrFault = errors.New("no memory there")

// An Event is what happens next in the guest. It returns the registers of the
// virtual CPU at the moment at which it comes to the address in RIP.
type Event func(*Guest) (vcpu int, regs guest.Registers)

// Guest is a guest.Guest in memory. Its fields may be read and set while it does
// not run.
type Guest struct {
	Events  []Event // what happens, in order; behind the last the guest ends
	CPUs    []guest.Registers
	Moved   bool // the next answer comes when its hit is no more, which then happens again
	last    Event
	New     bool   // has not run yet
	ID      string // Identity
	Traps   []uint64
	Answers []guest.Answer    // all that were given
	Slipped []guest.Registers // events at an address without a trap
	Frozen  bool
	Free    bool   // Release was called
	Fail    error  // what every call gives, if set
	Reads   int    // exchanges
	Nop     []byte // what Plant has to find where a trap is to lie; nil for anything
	Room    int    // for traps; 0 for any number
	Plants  int    // calls of Plant

	memory map[uint64]*[page]byte
}

var _ guest.Guest = (*Guest)(nil)

// New makes a stopped guest with one virtual CPU at its reset vector.
func New() *Guest {
	return &Guest{
		CPUs: []guest.Registers{{RIP: 0xfff0, CS: 0xf000}}, New: true, ID: "test",
		memory: map[uint64]*[page]byte{},
	}
}

// Write puts bytes at an address, and memory there if there was none.
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

// Do adds events.
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
	if g.Room > 0 && len(addrs) > g.Room {
		return fmt.Errorf("planting %d traps: there can be %d", len(addrs), g.Room)
	}
	for _, a := range addrs {
		if there := make([]byte, len(g.Nop)); g.read(a, there) != nil || !bytes.Equal(there, g.Nop) {
			return fmt.Errorf("planting at %#x: %w", a, guest.ErrNotYet)
		}
	}
	g.Traps = slices.Clone(addrs)
	return g.Fail
}

// Run takes events until one comes to a trap. With a limit, it is over when an event
// comes to another address; without one, that event slips by.
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
		g.Slipped = append(g.Slipped, regs)
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
