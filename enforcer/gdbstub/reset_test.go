package gdbstub

import (
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestReset: traps outlive a reset of the machine, which comes to them anew.
func TestReset(t *testing.T) {
	m := boot(t, 1, "-action", "reboot=reset")
	g := m.dial(t)
	plant(t, g, hook)
	runOn(t, g, runToHit(t, g))
	for n := range uint64(3) {
		runToHit(t, g)
		m.qmp(t, "system_reset")
		for end := time.Now().Add(timeLimit); ; {
			if fresh, err := g.Fresh(); err != nil {
				t.Fatal(err)
			} else if fresh {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("it was not reset, and is %q", m.status(t))
			}
		}
		runToHit(t, g)
		if got := numbers(t, g, 0, starts); got[0] != n+2 {
			t.Fatalf("it started %d times, not %d", got[0], n+2)
		}
	}
}

// TestInit: traps outlive that a virtual CPU is started anew by another, as a guest's kernel does that takes one out of use
// and back.
func TestInit(t *testing.T) {
	g := boot(t, 2).dial(t)
	plant(t, g, hook)
	hitOf := func(vcpu int) guest.Stop {
		for {
			s := runToHit(t, g)
			if s.VCPU == vcpu {
				return s
			}
			returnFrom(t, g, s, 1)
		}
	}
	for n := range uint64(3) {
		s := hitOf(1)
		for numbers(t, g, 1, starts+8)[0] == n { // it was not stopped yet when it came to this
			returnFrom(t, g, s, 1)
			s = hitOf(1)
		}
		before := numbers(t, g, 1, starts+8, returned+8)
		returnFrom(t, g, s, 1)
		s = hitOf(1)
		if got := numbers(t, g, 1, starts+8, returned+8); got[0] != n+1 || got[1] != before[1]+1 {
			t.Fatalf("it started %d times, not %d, and returned %d times for one answer", got[0], n+1, got[1]-before[1])
		}
		returnFrom(t, g, s, 1)
		sendTo(t, g, hitOf(0), others, 0)
		returnFrom(t, g, hitOf(0), 1) // behind what it was sent to
	}
}

// TestFifth: KVM has four breakpoint registers, and the fifth trap is refused with the guest standing still. QEMU's emulation has more.
func TestFifth(t *testing.T) {
	m := boot(t, 1)
	g := m.dial(t)
	g.Trap = Hardware
	plant(t, g, 0x10001, 0x10002, 0x10003, hook)
	runToHit(t, g)
	err := g.Plant([]uint64{0x10001, 0x10002, 0x10003, 0x10004, hook})
	if accelerator() != "kvm" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), `"Z1,10004,1": it answered "E22"`) {
		t.Errorf("got %v", err)
	}
	if err := g.Freeze(); err != nil {
		t.Error(err)
	}
	if s := m.qmp(t, "query-status"); s["running"] != false {
		t.Errorf("the guest is %v", s)
	}
	g.Close()
	g = m.dial(t) // what was refused has taken nothing away
	plant(t, g, 0x10001, 0x10002, 0x10003, hook)
	runToHit(t, g)
}
