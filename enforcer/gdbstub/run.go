package gdbstub

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// interrupt stops a running guest. It is no packet and has no reply of its own.
const interrupt = 0x03

// Signals of stop replies (gdb_vm_state_change in QEMU).
const (
	sigInt  = "02" // stopped by an interrupt of ours, or by the monitor
	sigQuit = "03" // shut down, by a QEMU that was told to stay
	sigTrap = "05"
)

// Run lets the guest run, if an answer did not do so already, and waits for the next
// hit or for the limit.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	if !g.running {
		g.c.ask("vCont;c")
	}
	g.last, g.running = guest.Stop{}, false
	signal, vcpu := g.parseStop(g.await(limit))
	if g.c.err != nil {
		return guest.Stop{}, g.c.err
	}
	s := guest.Stop{VCPU: vcpu, At: time.Now()}
	g.selectVCPU(vcpu)
	g.c.ask("g")
	g.c.ask("qfThreadInfo")
	for range g.threads {
		g.c.ask("qsThreadInfo")
	}
	s.Regs = g.takeRegisters()
	g.takeThreads()
	s.Hit = slices.Contains(g.planted, s.Regs.RIP)
	if signal == sigTrap && !s.Hit {
		g.c.fail(fmt.Errorf("virtual CPU %d stopped at %#x, where no trap was planted", vcpu, s.Regs.RIP))
	}
	g.last = s
	return s, g.c.err
}

// await waits for the stop reply, and interrupts the guest at the limit. Either way
// there is one: an interrupt that comes too late is ignored. A guest that QEMU paused for
// another reason is waited for, without a limit: it goes on with its traps, and has a reply
// more.
func (g *Guest) await(limit time.Duration) []byte {
	c := &g.c
	if c.err != nil {
		return nil
	}
	var until time.Time
	if limit > 0 {
		until = time.Now().Add(limit)
	}
	p := c.take(until)
	if errors.Is(c.err, errSilent) {
		c.err = c.write([]byte{interrupt})
		return c.take(c.soon())
	}
	for paused(p) {
		c.pending = append(c.pending, c.question)
		p = c.take(time.Time{})
	}
	return p
}

// paused tells of a stop that is neither a hit nor the end: by the monitor, an error of
// a disk, a watchdog. Who stopped the guest lets it go on.
func paused(p []byte) bool {
	head, _, ok := strings.Cut(string(p), "thread:")
	return ok && len(head) == 3 && head[0] == 'T' && head != "T"+sigTrap && head != "T"+sigQuit
}

// parseStop decodes the stop reply Tnnthread:id;... and accepts hits and interrupts.
func (g *Guest) parseStop(p []byte) (signal string, vcpu int) {
	head, id, _ := strings.Cut(string(p), "thread:")
	id, _, _ = strings.Cut(id, ";")
	if head == "T"+sigQuit {
		g.c.fail(fmt.Errorf("%w: it was shut down", guest.ErrEnded))
	}
	vcpu = slices.Index(g.threads, id)
	if vcpu < 0 || head != "T"+sigTrap && head != "T"+sigInt {
		g.c.refuse(p)
		return "", 0
	}
	g.selected = vcpu
	return head[1:], vcpu
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

// Answer sets the registers that the answer changes, rip last, and resumes the guest once QEMU
// has set them all. What it replies to that is for Run.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering virtual CPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	g.selectVCPU(s.VCPU)
	if a.Return {
		g.c.setRegister(numRAX, a.RAX)
		g.c.setRegister(numRSP, a.RSP)
	}
	g.c.setRegister(numRIP, a.RIP)
	g.c.obeyed()
	g.c.ask("vCont;c")
	g.last, g.running = guest.Stop{}, g.c.send() == nil
	return g.c.err
}
