package xen

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// Vectors (X86_EXC_*).
const (
	vectorDB = 1
	vectorBP = 3
)

// Layout of struct xen_domctl_gdbsx_domstatus.
const (
	statusPaused = 0
	statusVCPU   = 4
)

// debug is Xen's facility for debuggers: each breakpoint in the kernel pauses the domain,
// and says so to who asks.
type debug struct {
	g *Guest
	// untold are virtual CPUs that Xen has told of, once, before we could act on it.
	untold []int
}

func (d *debug) code() []byte { return append([]byte{0xcc}, nop[1:]...) }

// probe refuses a Xen in which the facility is not compiled in: on that one a breakpoint
// would be the guest's, which dies of it.
func (d *debug) probe() error {
	vcpu, _, err := d.status()
	if err != nil {
		return fmt.Errorf("this Xen was built without CONFIG_GDBSX: it has no debugging calls (%w)", d.g.ended(err))
	}
	if vcpu >= 0 {
		d.untold = append(d.untold, vcpu)
	}
	return nil
}

func (d *debug) attach() error {
	if err := d.again(); err != nil {
		return err
	}
	return d.set(1)
}

func (d *debug) detach() error {
	if err := d.again(); err != nil {
		return err
	}
	return d.set(0)
}

func (d *debug) close() {}

func (d *debug) set(on uint32) error {
	if err := d.g.domctl(domctlSetDebugging, on); err != nil {
		return fmt.Errorf("switching debugging to %d: %w", on, err)
	}
	return nil
}

// again has each virtual CPU that stands behind a trap hit it once more. A breakpoint that
// is not ours, which Xen told of meanwhile, is given back.
func (d *debug) again() error {
	for {
		vcpu, _, err := d.status()
		if err != nil {
			return err
		}
		if vcpu < 0 {
			break
		}
		d.untold = append(d.untold, vcpu)
	}
	for v := range d.g.vcpus {
		r, err := d.g.look(v)
		switch {
		case isOffline(err):
			continue
		case err != nil:
		case r.CPL() == 0 && d.ours(r.RIP-1):
			err = d.goTo(v, r.RIP-1)
		case slices.Contains(d.untold, v):
			err = d.inject(v, vectorBP)
		}
		if err != nil {
			return err
		}
	}
	d.untold = nil
	return nil
}

func (d *debug) ours(addr uint64) bool { _, is := d.g.traps[addr]; return is }

// goTo changes where a virtual CPU, whose context was got, goes on.
func (d *debug) goTo(vcpu int, rip uint64) error {
	d.g.h.setReg(regRIP, rip)
	return d.g.h.setContext(d.g.domain, vcpu)
}

// status gives the virtual CPU that has hit a breakpoint, and forgets it: -1 if there is
// none, or if the domain is not paused.
func (d *debug) status() (vcpu int, paused bool, err error) {
	u := d.g.h.union()
	clear(u)
	if err := d.g.h.domctl(d.g.domain, domctlDebuggerStatus); err != nil {
		return -1, false, err
	}
	return int(int32(le.Uint32(u[statusVCPU:]))), u[statusPaused] != 0, nil
}

// next polls: Xen sends no event when a breakpoint is hit. The longer there was none, the
// less often.
func (d *debug) next(until time.Time) (s guest.Stop, hit bool, err error) {
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, glance) {
		vcpu, paused, err := d.status()
		if err != nil {
			return s, false, err
		}
		if paused {
			if s, hit, err = d.stopped(vcpu); hit || err != nil {
				return s, hit, err
			}
		}
		if !time.Now().Before(until) {
			return s, false, nil
		}
		time.Sleep(pause)
	}
}

// stopped looks why the domain is paused. A breakpoint that is not ours is given back to
// the guest, and so is a debug exception, of which Xen does not say who had it.
func (d *debug) stopped(vcpu int) (s guest.Stop, hit bool, err error) {
	if vcpu < 0 {
		return s, false, d.debugExceptions()
	}
	s = guest.Stop{VCPU: vcpu, At: time.Now()}
	d.g.m.forget()
	if s.Regs, err = d.g.look(vcpu); err != nil {
		return s, false, err
	}
	switch addr := s.Regs.RIP - 1; {
	case s.Regs.CPL() != 0 || !d.ours(addr):
		err = d.inject(vcpu, vectorBP)
	case !d.g.isPlanted(addr): // the trap was removed meanwhile
		err = d.goTo(vcpu, addr)
	default:
		s.Regs.RIP, s.Hit = addr, true
		return s, true, nil
	}
	if err == nil {
		err = d.g.domctl(domctlUnpause)
	}
	return s, false, err
}

// Bits of DR6 that say what a debug exception was for.
const dr6Causes = 0xf | 1<<13 | 1<<14 // B0 to B3, BD, BS

// debugExceptions gives back what a virtual CPU in the kernel had, and has not been told
// of. A domain that somebody paused has none.
func (d *debug) debugExceptions() error {
	for v := range d.g.vcpus {
		r, err := d.g.look(v)
		if isOffline(err) {
			continue
		}
		if err != nil {
			return err
		}
		handler := le.Uint64(d.g.h.context()[contextTraps+16*vectorDB+8:])
		if r.CPL() != 0 || d.g.h.reg(contextDebug+8*6)&dr6Causes == 0 || r.RIP == handler {
			continue
		}
		if err := d.inject(v, vectorDB); err != nil {
			return err
		}
		return d.g.domctl(domctlUnpause)
	}
	return nil
}

func (d *debug) answer(s *guest.Stop, a guest.Answer) error {
	h := d.g.h
	if err := h.getContext(d.g.domain, s.VCPU); err != nil { // reading memory may have got another
		return err
	}
	if a.Return {
		h.setReg(regRAX, a.RAX)
		h.setReg(regRSP, a.RSP)
	}
	if err := d.goTo(s.VCPU, a.RIP); err != nil {
		return err
	}
	return d.g.domctl(domctlUnpause)
}

// isOffline tells of a virtual CPU that was not started yet.
func isOffline(err error) bool { return errors.Is(err, unix.ENODATA) }
