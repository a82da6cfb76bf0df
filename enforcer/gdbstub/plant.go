package gdbstub

import (
	"fmt"
	"slices"
)

// Trap is what the hypervisor makes a trap of.
type Trap int

const (
	// Hardware is the processor's debug registers. There are four, and memory is
	// left alone.
	Hardware Trap = iota
	// Software lets the hypervisor change memory, which KVM does and TCG does not.
	Software
)

// kind is the stub's number of a trap, and how many there may be: so many debug
// registers, or what can be set in one write.
func (t Trap) kind() (number, most int) {
	if t == Software {
		return 0, 32
	}
	return 1, 4
}

// Plant changes the set in one write: a process that dies has done all of it or
// nothing.
func (g *Guest) Plant(addrs []uint64) error {
	if g.err != nil {
		return g.err
	}
	kind, most := g.Trap.kind()
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	if len(want) > most {
		return fmt.Errorf("planting %d traps: there can be %d", len(want), most)
	}
	gone, come := without(g.planted, want), without(want, g.planted)
	for _, a := range gone {
		g.c.queue("z%d,%x,1", kind, a)
	}
	for _, a := range come {
		g.c.queue("z%d,%x,1", kind, a) // an earlier connection may have set it
		g.c.queue("Z%d,%x,1", kind, a)
	}
	if err := g.c.flush(); err != nil {
		return g.fail("planting traps", err)
	}
	for _, a := range gone {
		if err := g.c.ok(); err != nil {
			return g.fail(fmt.Sprintf("removing the trap at %#x", a), err)
		}
	}
	for _, a := range come {
		if err := g.planted1(); err != nil {
			return g.fail(fmt.Sprintf("planting a trap at %#x", a), err)
		}
	}
	g.planted = want
	return nil
}

// planted1 takes the replies to the removal of a trap that need not have been
// there, and to its setting.
func (g *Guest) planted1() error {
	p, err := g.c.receive(g.c.soon())
	if err != nil {
		return err
	}
	if s := string(p); s != "OK" && s != "E22" {
		return fmt.Errorf("QEMU answered %q to its removal", brief(p))
	}
	return g.c.ok()
}

// without gives what of a is not in b.
func without(a, b []uint64) (rest []uint64) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	return rest
}
