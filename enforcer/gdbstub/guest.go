package gdbstub

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// Guest is a QEMU guest.
type Guest struct {
	Trap Trap // what Plant sets; to be changed before the first Plant only

	c        conn
	id       string
	threads  []string // what the stub calls the virtual CPUs, in our order
	selected int      // the one that g, P and m are about; -1 if not known
	planted  []uint64
	last     guest.Stop
	answer   guest.Answer // to last
	answered bool         // whether there is one
	err      error        // why nothing can be done any more
}

var _ guest.Guest = (*Guest)(nil)

var (
	errReleased = errors.New("the guest was released")
	errClosed   = errors.New("the connection to QEMU was closed")
)

// fail ends all dealings: replies that are still to come could be taken for others.
func (g *Guest) fail(doing string, err error) error {
	g.err = fmt.Errorf("%s: %w", doing, err)
	return g.err
}

// queueSelect makes g, P and m be about a virtual CPU. If they are not yet, an OK
// is due, which selectedOK takes.
func (g *Guest) queueSelect(vcpu int) (due bool, err error) {
	if vcpu < 0 || vcpu >= len(g.threads) {
		return false, fmt.Errorf("there is no virtual CPU %d", vcpu)
	}
	if g.selected == vcpu {
		return false, nil
	}
	g.selected = -1
	g.c.queue("Hg%s", g.threads[vcpu])
	return true, nil
}

func (g *Guest) selectedOK(vcpu int) error {
	if err := g.c.ok(); err != nil {
		return g.fail(fmt.Sprintf("selecting virtual CPU %d", vcpu), err)
	}
	g.selected = vcpu
	return nil
}

// VCPUs gives the registers of every virtual CPU.
func (g *Guest) VCPUs() ([]guest.Registers, error) {
	if g.err != nil {
		return nil, g.err
	}
	all := make([]guest.Registers, len(g.threads))
	for i := range all {
		var err error
		if all[i], err = g.registers(i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (g *Guest) registers(vcpu int) (r guest.Registers, err error) {
	due, err := g.queueSelect(vcpu)
	if err != nil {
		return r, err
	}
	g.c.queue("g")
	if err := g.c.flush(); err != nil {
		return r, g.fail("asking for registers", err)
	}
	if due {
		if err := g.selectedOK(vcpu); err != nil {
			return r, err
		}
	}
	p, err := g.c.receive(g.c.soon())
	if err == nil {
		r, err = parseRegisters(p)
	}
	if err != nil {
		return r, g.fail(fmt.Sprintf("reading the registers of virtual CPU %d", vcpu), err)
	}
	return r, nil
}

// Fresh reports whether all virtual CPUs stand where a reset puts them, at
// f000:fff0, those that wait to be started included.
func (g *Guest) Fresh() (bool, error) {
	all, err := g.VCPUs()
	if err != nil {
		return false, err
	}
	for _, r := range all {
		if r.RIP != 0xfff0 || r.CS != 0xf000 {
			return false, nil
		}
	}
	return true, nil
}

// Freeze has nothing to do for a guest that stands still between calls. After an
// error it makes sure that it does.
func (g *Guest) Freeze() error {
	switch {
	case g.err == nil:
		return nil
	case errors.Is(g.err, guest.ErrEnded), g.err == errReleased, g.err == errClosed:
		return g.err
	}
	if err := g.c.sync(); err != nil {
		return fmt.Errorf("stopping the guest: %w", err)
	}
	return nil
}

// Release applies the answer that is due, removes all traps, those of earlier
// connections included, and lets the guest run.
func (g *Guest) Release() error {
	if g.err != nil {
		return g.err
	}
	due := g.queueAnswer() + 1
	pid, _, _ := strings.Cut(g.threads[0], ".")
	g.c.queue("D;%s", strings.TrimPrefix(pid, "p"))
	if err := g.c.flush(); err != nil {
		return g.fail("releasing the guest", err)
	}
	for range due {
		if err := g.c.ok(); err != nil {
			return g.fail("releasing the guest", err)
		}
	}
	g.err = errReleased
	return nil
}

// Close gives the connection up, and nothing else.
func (g *Guest) Close() error {
	if g.err == errClosed {
		return nil
	}
	g.err = errClosed
	return unix.Close(g.c.fd)
}

// Identity names the QEMU process behind a socket that has a path.
func (g *Guest) Identity() string { return g.id }
