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
	// pollInterval is how often a guest that its host has paused is asked whether it goes on.
	pollInterval = 250 * time.Millisecond

	forever = 1 << 62
)

// stateDebug is QEMU's name (RunState) of a guest that stands still at a breakpoint.
const stateDebug = "debug"

// askState asks the monitor behind the stub, since the stub itself does not know who has stopped the guest.
func (g *Guest) askState() {
	g.c.ask("qRcmd,%x", "info status")
	g.c.pending = append(g.c.pending, "qRcmd") // it is answered with a text, and OK
}

func (g *Guest) takeState() string {
	p := g.c.reply()
	text, err := hex.DecodeString(strings.TrimPrefix(string(p), "O"))
	state, ok := strings.CutPrefix(string(text), "VM status: paused")
	if err != nil || !ok {
		g.c.refuse(p)
	}
	g.c.obey()
	return strings.Trim(state, " ()\r\n")
}

// isPaused tells whether somebody else has the guest stand still, who alone may let it go on. Prelaunch is -S.
func (g *Guest) isPaused(state string) bool {
	return state != stateDebug && state != "prelaunch" && !g.c.stopped
}

// resume lets the guest run and has the stub tell of its next stop, which it does once. What came
// before the answer to the question is about an earlier one.
func (g *Guest) resume() {
	g.c.ask("qC")
	g.c.ask("vCont;c")
	g.c.reply()
	g.c.question, g.c.pending = "vCont;c", g.c.pending[:0]
	g.selected, g.c.stopped, g.paused, g.running = -1, false, false, true
}

// Run lets the guest run, if an answer did not do so already, and waits for the next hit or for the
// limit. A guest that its host has paused is waited for, without a limit.
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
			if over, hit := g.look(); over {
				return g.stop(-1, hit)
			}
		case vcpu < 0 || len(head) != 3 || head[0] != 'T':
			g.c.refuse(p)
		case head == "T05": // a trap; signals are those of gdb_vm_state_change
			return g.stop(vcpu, true)
		default: // by the monitor, a watchdog, an error of a disk, a migration; or its end
			g.paused = true
		}
	}
	g.running = false
	return guest.Stop{}, g.c.err
}

// look finds out, and stops the guest for that, how one fares of which the stub tells nothing: whether it
// has hit a trap, or its time is over. One that its host has let go on goes on.
func (g *Guest) look() (over, hit bool) {
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

// stop reads where the guest stands: at a hit of that virtual CPU, or of one that has to be found.
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
		// A pause that ends at once leaves QEMU with news of a hit that is no more. If it is still there
		// the breakpoint is somebody else's.
		if g.stray == s.Regs.RIP {
			g.c.fail(fmt.Errorf("virtual CPU %d stopped at %#x, where no trap was planted", s.VCPU, g.stray))
		}
		g.stray = s.Regs.RIP
	}
	g.last = s
	return s, g.c.err
}

// takeThreads wants the list to be as it was. A virtual CPU that was plugged in has no traps; one that
// was unplugged might come back under its old id, without them.
func (g *Guest) takeThreads() {
	for i := range len(g.threads) + 1 {
		want := "l"
		if i < len(g.threads) {
			want = "m" + g.threads[i]
		}
		if p := g.c.reply(); g.c.err == nil && string(p) != want {
			g.c.fail(fmt.Errorf("it answered %q, not %q: a virtual CPU was plugged in, where it has no traps, or unplugged", p, want))
		}
	}
}

// answered are the registers that an answer changes: rax, rsp, and rip last.
type answered [3]uint64

func answeredOf(r guest.Registers) answered { return answered{r.RAX, r.RSP, r.RIP} }

// swap sets them, and gives what they were and QEMU's state of the guest. Nobody comes between: it is one write. With g
// QEMU takes the registers over from KVM; without it, P would write what is thrown away.
func (g *Guest) swap(to answered) (was answered, state string) {
	numbers := [...]int{numRAX, numRSP, numRIP}
	g.c.ask("g")
	for i, n := range numbers {
		g.c.ask("P%x=%016x", n, bits.ReverseBytes64(to[i])) // low byte first
	}
	g.askState()
	was = answeredOf(g.takeRegisters())
	for range numbers {
		g.c.obey()
	}
	return was, g.takeState()
}

// Answer sets the registers that the answer changes, and resumes the guest once QEMU has set them all.
// Its host may have let it run since the hit: then another call stands there, or none, which is not answered.
// A call that has not returned keeps its place on its stack, so no other has the same.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering virtual CPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	g.last, g.selected = guest.Stop{}, -1 // another hit makes another virtual CPU the selected one
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
