package gdbstub

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Signals in a stop reply (gdb's numbers; gdb_vm_state_change in QEMU).
const (
	sigInt  = 2 // stopped by an interrupt of ours or by the monitor
	sigQuit = 3 // shut down, and QEMU was told to stay
	sigTrap = 5
)

// Run answers the last hit and waits for the next, or for the limit.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	if g.err != nil {
		return guest.Stop{}, g.err
	}
	due := g.queueAnswer()
	g.c.queue("vCont;c")
	g.selected, g.last = -1, guest.Stop{}
	if err := g.c.flush(); err != nil {
		return guest.Stop{}, g.fail("letting the guest run", err)
	}
	for range due {
		if err := g.c.ok(); err != nil {
			return guest.Stop{}, g.fail("answering the last hit", err)
		}
	}
	signal, vcpu, err := g.stop(limit)
	if err != nil {
		return guest.Stop{}, g.fail("waiting for a hit", err)
	}
	s := guest.Stop{VCPU: vcpu, At: time.Now()}
	if s.Regs, err = g.registers(vcpu); err != nil {
		return guest.Stop{}, err
	}
	s.Hit = slices.Contains(g.planted, s.Regs.RIP)
	if signal == sigTrap && !s.Hit {
		return guest.Stop{}, g.fail("waiting for a hit", fmt.Errorf(
			"virtual CPU %d (thread %s) stopped at %#x, where there is no trap of ours", vcpu, g.threads[vcpu], s.Regs.RIP))
	}
	g.last = s
	return s, nil
}

// stop waits for the stop reply, and interrupts the guest at the limit. Either way
// there is one: an interrupt that comes too late is ignored.
func (g *Guest) stop(limit time.Duration) (signal, vcpu int, err error) {
	var until time.Time
	if limit > 0 {
		until = time.Now().Add(limit)
	}
	p, err := g.c.receive(until)
	interrupted := errors.Is(err, errSilent)
	if interrupted {
		g.c.out = append(g.c.out, interrupt)
		if err := g.c.flush(); err != nil {
			return 0, 0, err
		}
		p, err = g.c.receive(g.c.soon())
	}
	if err != nil {
		return 0, 0, err
	}
	signal, vcpu, err = g.parseStop(p)
	if err == nil && signal != sigTrap && !(signal == sigInt && interrupted) {
		err = fmt.Errorf("something else stopped the guest: QEMU sent %q", brief(p))
	}
	return signal, vcpu, err
}

// parseStop decodes Tnnkey:value;..., of which the thread matters.
func (g *Guest) parseStop(p []byte) (signal, vcpu int, err error) {
	if len(p) > 0 && (p[0] == 'W' || p[0] == 'X') {
		return 0, 0, fmt.Errorf("%w: QEMU sent %q", guest.ErrEnded, brief(p))
	}
	var nn [1]byte
	if len(p) >= 3 && p[0] == 'T' {
		if _, err := hex.Decode(nn[:], p[1:3]); err == nil {
			if nn[0] == sigQuit {
				return 0, 0, fmt.Errorf("%w: it was shut down", guest.ErrEnded)
			}
			_, thread, _ := bytes.Cut(p[3:], []byte("thread:"))
			thread, _, _ = bytes.Cut(thread, []byte(";"))
			for i, id := range g.threads {
				if string(thread) == id {
					g.selected = i
					return int(nn[0]), i, nil
				}
			}
		}
	}
	return 0, 0, fmt.Errorf("QEMU sent %q, which tells of no stop of a known virtual CPU", brief(p))
}

// Answer notes the answer for the next Run.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if g.err != nil {
		return g.err
	}
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering virtual CPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	g.answer, g.answered = a, true
	return nil
}

// queueAnswer puts the answer into the registers, and says how many OKs are due.
func (g *Guest) queueAnswer() (due int) {
	if !g.answered {
		return 0
	}
	g.answered = false
	if selecting, _ := g.queueSelect(g.last.VCPU); selecting {
		due++
	}
	if g.answer.Return {
		g.c.queueRegister(numRAX, g.answer.RAX)
		g.c.queueRegister(numRSP, g.answer.RSP)
		due += 2
	}
	g.c.queueRegister(numRIP, g.answer.RIP)
	return due + 1
}
