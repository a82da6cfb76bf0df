package gdbstub

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const (
	// pollInterval is the time between two polls of a guest that its host has paused.
	pollInterval = 250 * time.Millisecond

	forever = 1 << 62
)

// stateDebug is QEMU's name (RunState) for a guest that is stopped at a breakpoint.
const stateDebug = "debug"

// askState asks QEMU's monitor for the state: the stub does not know who stopped the guest.
func (g *Guest) askState() {
	g.c.ask("qRcmd,%x", "info status")
	g.c.pending = append(g.c.pending, "qRcmd") // the reply is a text, followed by OK
}

func (g *Guest) takeState() string {
	p := g.c.reply()
	text, err := hex.DecodeString(strings.TrimPrefix(string(p), "O"))
	state, ok := strings.CutPrefix(string(text), "VM status: paused")
	if err != nil || !ok {
		g.c.unexpected(p)
	}
	g.c.takeOK()
	return strings.Trim(state, " ()\r\n")
}

// isPaused reports whether the host has paused the guest, so that only the host may continue it.
// State prelaunch is that of -S.
func (g *Guest) isPaused(state string) bool {
	return state != stateDebug && state != "prelaunch" && !g.c.stopped
}

// resume lets the guest run. The stub then reports the next stop, once. Everything before the
// answer to qC is about an earlier stop.
func (g *Guest) resume() {
	g.c.ask("qC")
	g.c.ask("vCont;c")
	g.c.reply()
	g.c.current, g.c.pending = "vCont;c", g.c.pending[:0]
	g.selected, g.c.stopped, g.paused, g.running = -1, false, false, true
}

// Run lets the guest run, unless Answer already did, and waits for the next hit or for the limit.
// While the host has paused the guest, Run waits without a limit.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	if !g.running && !g.paused && g.c.err == nil {
		g.resume()
	}
	g.last = guest.Stop{}
	for end := time.Now().Add(cmp.Or(limit, forever)); g.c.err == nil; {
		until := end
		if g.paused {
			until = time.Now().Add(pollInterval)
		}
		p := g.c.next(until)
		head, id, _ := strings.Cut(strings.TrimSuffix(string(p), ";"), "thread:")
		vcpu := slices.Index(g.threads, id)
		switch {
		case errors.Is(g.c.err, errSilent):
			g.c.err = nil
			if over, hit := g.probe(); over {
				return g.stop(-1, hit)
			}
		case vcpu < 0 || len(head) != 3 || head[0] != 'T':
			g.c.unexpected(p)
		case head == "T05": // a trap; see gdb_vm_state_change for the signals
			return g.stop(vcpu, true)
		default: // the monitor, a watchdog, a disk error, a migration, or a shutdown
			g.paused = true
		}
	}
	g.running = false
	return guest.Stop{}, g.c.err
}

// probe stops the guest and asks for its state, because the stub may have reported nothing. It
// returns over if the time is over or a trap was hit. It resumes a guest that its host has
// continued.
func (g *Guest) probe() (over, hit bool) {
	g.askState()
	switch state := g.takeState(); {
	case state == "shutdown":
		g.c.fail(fmt.Errorf("%w: it was shut down", guest.ErrEnded))
	case state == stateDebug:
		return true, true
	case !g.c.stopped:
		g.paused = true
	case g.paused:
		g.resume()
	default:
		return true, false
	}
	return false, false
}

// stop reads the registers of a vCPU after a stop. If hit is true, a trap was hit: by vcpu, or by a
// vCPU that stop has to find.
func (g *Guest) stop(vcpu int, hit bool) (guest.Stop, error) {
	s := guest.Stop{VCPU: max(0, vcpu), At: time.Now()}
	trapped := func(r guest.Registers) bool { return slices.Contains(g.planted, r.RIP) }
	g.running, g.paused, g.selected = false, false, vcpu
	if hit && vcpu < 0 {
		all, _ := g.VCPUs()
		s.VCPU = max(0, slices.IndexFunc(all, trapped))
	}
	g.selectVCPU(s.VCPU)
	g.c.ask("g")
	g.c.ask("qfThreadInfo")
	for range g.threads {
		g.c.ask("qsThreadInfo")
	}
	s.Regs = g.takeRegisters()
	g.takeThreads()
	if s.Hit = hit && trapped(s.Regs); hit && !s.Hit {
		// A pause that ends at once can leave the report of a hit that no longer exists. If the
		// guest stops at the same address again, somebody else has set the breakpoint.
		if g.stray == s.Regs.RIP {
			g.c.fail(fmt.Errorf("vCPU %d stopped at %#x, where no trap was planted", s.VCPU, g.stray))
		}
		g.stray = s.Regs.RIP
	}
	g.last = s
	return s, g.c.err
}

// takeThreads fails if the list of vCPUs has changed. A vCPU that was plugged in has no traps. One
// that was unplugged might come back with its old id, without traps.
func (g *Guest) takeThreads() {
	for i := range len(g.threads) + 1 {
		want := "l"
		if i < len(g.threads) {
			want = "m" + g.threads[i]
		}
		if p := g.c.reply(); g.c.err == nil && string(p) != want {
			g.c.fail(fmt.Errorf("it answered %q, not %q: a vCPU was plugged in and has no traps, or was unplugged", p, want))
		}
	}
}

// answered holds the registers that an answer sets: rax, rsp, and rip last.
type answered [3]uint64

func answeredOf(r guest.Registers) answered { return answered{r.RAX, r.RSP, r.RIP} }

// swap sets these registers and returns their old values and QEMU's state of the guest. It is one
// write, so nothing happens in between. With g, QEMU takes the registers over from KVM; without it,
// P would change a copy that QEMU discards.
func (g *Guest) swap(to answered) (was answered, state string) {
	numbers := [...]int{numRAX, numRSP, numRIP}
	g.c.ask("g")
	for i, n := range numbers {
		g.c.ask("P%x=%016x", n, bits.ReverseBytes64(to[i])) // low byte first
	}
	g.askState()
	was = answeredOf(g.takeRegisters())
	for range numbers {
		g.c.takeOK()
	}
	return was, g.takeState()
}

// Answer sets the registers of the answer, and resumes the guest once QEMU has set them all. If the
// host has let the guest run since the hit, the vCPU is at another call, or at none, and that is
// not answered. Answer recognizes the call by its stack pointer: until it returns, no other call
// has the same one.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering vCPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	g.last, g.selected = guest.Stop{}, -1 // another hit selects another vCPU
	g.selectVCPU(s.VCPU)
	if !a.Return {
		a.RAX, a.RSP = s.Regs.RAX, s.Regs.RSP
	}
	was, state := g.swap(answered{a.RAX, a.RSP, a.RIP})
	g.paused = g.isPaused(state)
	switch {
	case g.c.err != nil:
	case was != answeredOf(s.Regs):
		g.swap(was)
		return cmp.Or(g.c.err, guest.ErrMoved)
	case !g.paused:
		g.resume()
	}
	return g.c.err
}
