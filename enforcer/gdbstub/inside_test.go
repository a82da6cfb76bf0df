package gdbstub

import (
	"testing"
	"time"
)

// TestSteps: software inside single-steps through a function with a trap. Each step is its own, and the hit is ours.
func TestSteps(t *testing.T) {
	g := boot(t, 1).dial(t)
	plant(t, g, hook)
	for n := range uint64(10) {
		sendTo(t, g, runToHit(t, g), step, 0)
		s := runToHit(t, g)
		const toCall, inAll = 1, 7 // call; incq, mov, ret, pushf, andl, popf
		if got := numbers(t, g, 0, steps); got[0] != n*inAll+toCall {
			t.Fatalf("round %d: %d steps before the function, not %d", n, got[0], n*inAll+toCall)
		}
		runOn(t, g, s)
		runToHit(t, g)
		if got := numbers(t, g, 0, steps, bodies); got[0] != (n+1)*inAll || got[1] != n+1 {
			t.Fatalf("round %d: %d steps, not %d, and the body ran %d times", n, got[0], (n+1)*inAll, got[1])
		}
	}
}

// TestBreakpoints: software inside takes all four debug registers. It reads back what it wrote, and no call comes past the
// trap. Its own breakpoints rest while KVM has the registers for us, and work once we have let go of them.
func TestBreakpoints(t *testing.T) {
	g := boot(t, 1).dial(t)
	plant(t, g, hook)
	const own, calls = again + 5, 20
	sendTo(t, g, runToHit(t, g), watch, own)
	for n := range uint64(calls) {
		s := runToHit(t, g)
		if ret, _, _ := counters(t, g, 0); ret != n {
			t.Fatalf("%d hits were answered, of %d", n, ret)
		}
		returnFrom(t, g, s, 1)
	}
	s := runToHit(t, g)
	got := numbers(t, g, 0, readBack, readBack+8, stops)
	if got[0] != own || got[1]&0xff != 0xaa {
		t.Errorf("it wrote %#x into DR0 and 0xaa into DR7, and reads %#x and %#x", own, got[0], got[1])
	}
	t.Logf("with our trap it stopped at its own breakpoint %d times of %d", got[2], calls)
	if want := uint64(calls); accelerator() != "kvm" && got[2] != want || got[2] != 0 && got[2] != want {
		t.Error("not each time, and not never, as with KVM")
	}
	plant(t, g)
	runOn(t, g, s)
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	runFreely(t, g, 0)
	if now := numbers(t, g, 0, stops); now[0] <= got[2] {
		t.Errorf("it stopped at its own breakpoints %d times, and no more without our trap", now[0])
	}
}

// TestSamePlace: software inside has a breakpoint where our trap is. With KVM each call is a hit. QEMU's emulation gives the
// guest its own first, again and again, until it takes it away: it does not come past the trap.
func TestSamePlace(t *testing.T) {
	g := boot(t, 1).dial(t)
	plant(t, g, hook)
	sendTo(t, g, runToHit(t, g), watch, hook)
	if accelerator() == "kvm" {
		for n := range uint64(20) {
			s := runToHit(t, g)
			if ret, _, _ := counters(t, g, 0); ret != n {
				t.Fatalf("%d hits were answered, of %d", n, ret)
			}
			returnFrom(t, g, s, 1)
		}
		return
	}
	for end := time.Now().Add(timeLimit); ; {
		if s, err := g.Run(10 * time.Millisecond); err != nil || s.Hit {
			t.Fatalf("%+v, %v", s, err)
		}
		got := numbers(t, g, 0, stops, returned, bodies)
		if got[1] != 0 || got[2] != 0 {
			t.Fatalf("it came past the trap: %d", got)
		}
		if got[0] > 100 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not come to its breakpoint")
		}
	}
}
