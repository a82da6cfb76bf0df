package xen

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// nop is what a trap replaces: x86_nops[5] of Linux, where ftrace has removed the call
// at a function's entry.
var nop = []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}

// loop is jmp to itself.
var loop = []byte{0xeb, 0xfe}

const (
	kernelMap = 0xffffffff80000000 // __START_KERNEL_map of Linux: physical address 0 of an unmoved kernel

	glance = time.Millisecond       // between looks at a virtual CPU that is waited for
	look   = 100 * time.Millisecond // between looks at whether the domain is still there
)

// facility is what Xen offers for traps.
type facility interface {
	// code is what a trap is made of, as long as nop.
	code() []byte
	// attach makes hits arrive. The domain is paused, and may have been somebody
	// else's before: what was hit and not answered is hit again.
	attach() error
	// next gives the next hit, if there is one by then.
	next(until time.Time) (s guest.Stop, hit bool, err error)
	// answer lets the virtual CPU of a hit go on.
	answer(s *guest.Stop, a guest.Answer) error
	// detach is the reverse of attach. The domain is paused and has no traps.
	detach() error
	// close gives up what this process holds.
	close()
}

// Guest is a domain.
type Guest struct {
	// Upcall is the per-CPU offset of the kernel's xen_vcpu_info; see debug.inject.
	Upcall uint64

	h      *hypervisor
	m      memory
	domain uint16
	pv     bool
	vcpus  int
	id     string
	f      facility
	kind   string // of f

	space    space             // of the kernel, where it was seen last
	traps    map[uint64]uint64 // frames of all addresses that ever were trapped
	planted  []uint64
	attached bool
	taken    bool // paused by somebody else before; see resume
	running  bool
	last     guest.Stop
	err      error
}

var (
	_ guest.Guest  = (*Guest)(nil)
	_ guest.Holder = (*Guest)(nil)

	errReleased = errors.New("the guest was released")
)

// domctl is one about the whole domain.
func (g *Guest) domctl(cmd uint32, words ...uint32) error {
	return g.ended(g.h.domctl(g.domain, cmd, words...))
}

// ended tells that a domain that Xen does not know is gone.
func (g *Guest) ended(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: there is no domain %d any more", guest.ErrEnded, g.domain)
	}
	return err
}

func (g *Guest) pause() error {
	if err := g.domctl(domctlPause); err != nil {
		return fmt.Errorf("pausing domain %d: %w", g.domain, err)
	}
	return nil
}

// resume takes one pause back; the first time, all that there are: those of xl create
// -p and of a process that died.
func (g *Guest) resume() error {
	var err error
	if g.taken {
		err = g.domctl(domctlUnpause)
	} else {
		err = g.resumeAll()
	}
	if err != nil {
		return fmt.Errorf("unpausing domain %d: %w", g.domain, err)
	}
	g.taken = true
	return nil
}

// resumeAll takes pauses back until there is none. A breakpoint pauses the domain, too, and
// must not be among them: the virtual CPUs stand still until it is done.
func (g *Guest) resumeAll() error {
	_, debugging := g.f.(*debug)
	each := func(cmd uint32) (err error) {
		for v := 0; debugging && v < g.vcpus && err == nil; v++ {
			err = g.domctl(cmd, uint32(v))
		}
		return err
	}
	err := each(domctlPauseVCPU)
	for err == nil {
		err = g.domctl(domctlUnpause)
	}
	if err != unix.EINVAL { // it is not paused any more
		return err
	}
	if err = g.domctl(domctlPause); err == nil { // without which Xen frees no virtual CPU
		err = errors.Join(each(domctlUnpauseVCPU), g.domctl(domctlUnpause))
	}
	return err
}

// alive fails if the domain has ended, or has left this host.
func (g *Guest) alive() error {
	i, err := g.h.info(g.domain)
	switch {
	case err != nil:
		return g.ended(err)
	case !i.shutdown():
		return nil
	case i.reason() == shutdownSuspend:
		return errors.New("the domain was suspended, to be saved or migrated: the guest cannot be guarded elsewhere")
	}
	return fmt.Errorf("%w: domain %d was shut down (reason %d)", guest.ErrEnded, g.domain, i.reason())
}

// look gets the state of a virtual CPU, of which the kernel's address space may be
// learned.
func (g *Guest) look(vcpu int) (guest.Registers, error) {
	if err := g.h.getContext(g.domain, vcpu); err != nil {
		return guest.Registers{}, g.ended(err)
	}
	r := g.h.registers(g.pv)
	if s := g.contextSpace(); s.levels > 0 && r.CPL() == 0 {
		g.space = s
	}
	return r, nil
}

// contextSpace is where the virtual CPU whose context was got last is.
func (g *Guest) contextSpace() space {
	switch {
	case g.pv:
		return space{g.h.control(3), 4}
	case g.h.control(0)&cr0Paging == 0:
		return space{}
	case g.h.control(4)&cr4LA57 != 0:
		return space{g.h.control(3), 5}
	}
	return space{g.h.control(3), 4}
}

// Fresh reports whether no virtual CPU has run yet.
func (g *Guest) Fresh() (bool, error) {
	i, err := g.h.info(g.domain)
	return err == nil && i.cpuTime == 0, g.ended(err)
}

// VCPUs gives the registers of those that are online.
func (g *Guest) VCPUs() ([]guest.Registers, error) {
	var all []guest.Registers
	for v := range g.vcpus {
		r, err := g.look(v)
		if isOffline(err) {
			continue // not started yet
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Read reads as the virtual CPU sees memory.
func (g *Guest) Read(vcpu int, ranges []guest.Range) error {
	s := g.space
	if !g.last.Hit || g.last.VCPU != vcpu {
		if _, err := g.look(vcpu); err != nil {
			return err
		}
		s = g.contextSpace()
	}
	g.m.read(s, ranges)
	return nil
}

// Hold keeps a fresh guest from getting beyond an instruction by a loop in its place.
func (g *Guest) Hold(addr uint64, code []byte) error {
	g.m.forget()
	if _, err := g.look(0); err != nil {
		return err
	}
	frame, err := (addr-kernelMap)>>12, error(nil) // before paging is on
	if s := g.contextSpace(); s.levels > 0 {
		frame, err = g.m.translate(s, addr)
	}
	if err != nil {
		return err
	}
	there := make([]byte, len(code))
	err = g.m.readFrame(frame, addr, there)
	switch {
	case err != nil || bytes.Equal(there, make([]byte, len(there))):
		return fmt.Errorf("%w: no kernel is in memory", errors.ErrUnsupported)
	case !bytes.Equal(there, code):
		return fmt.Errorf("another kernel than the profile's was loaded: at %#x lies % x, not % x", addr, there, code)
	}
	if err := g.m.write(frame, addr, loop); err != nil {
		return err
	}
	if err := g.resume(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		time.Sleep(glance)
		r, err := g.look(0)
		if err != nil {
			return err
		}
		if r.RIP == addr {
			break
		}
		if n%100 == 0 {
			if err := g.alive(); err != nil {
				return err
			}
		}
	}
	if err := g.pause(); err != nil {
		return err
	}
	g.m.forget()
	r, err := g.look(0)
	if err != nil {
		return err
	}
	if r.RIP != addr || r.CPL() != 0 {
		return fmt.Errorf("virtual CPU 0 has left the loop at %#x for %#x", addr, r.RIP)
	}
	return g.m.write(frame, addr, code[:len(loop)])
}

// Plant writes what differs, and first notes what it is going to write. After an error the
// domain stays paused.
func (g *Guest) Plant(addrs []uint64) error {
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	if err := g.pause(); err != nil {
		return err
	}
	err := g.locate(want)
	if err == nil {
		err = g.plant(want)
	}
	if err != nil && !errors.Is(err, guest.ErrNotYet) {
		return err
	}
	return errors.Join(err, g.domctl(domctlUnpause))
}

// locate learns where the addresses lie, all of them or none.
func (g *Guest) locate(want []uint64) error {
	g.m.forget()
	found := maps.Clone(g.traps)
	for _, a := range want {
		if _, known := found[a]; known {
			continue
		}
		if g.space.levels == 0 {
			return guest.ErrNotYet
		}
		frame, err := g.m.translate(g.space, a)
		if err != nil {
			return fmt.Errorf("%w: %#x: %w", guest.ErrNotYet, a, err)
		}
		if err := g.expect(frame, a, nop); err != nil {
			return fmt.Errorf("%w: %w", guest.ErrNotYet, err)
		}
		found[a] = frame
	}
	g.traps = found
	return nil
}

func (g *Guest) plant(want []uint64) error {
	if err := g.saveTraps(); err != nil {
		return err
	}
	if !g.attached {
		if err := g.f.attach(); err != nil {
			return err
		}
		g.attached = true
	}
	for _, a := range g.planted {
		if !slices.Contains(want, a) {
			if err := g.replace(a, g.f.code(), nop); err != nil {
				return err
			}
		}
	}
	for _, a := range want {
		if !slices.Contains(g.planted, a) {
			if err := g.replace(a, nop, g.f.code()); err != nil {
				return err
			}
		}
	}
	g.planted = want
	return nil
}

func (g *Guest) isPlanted(addr uint64) bool { return slices.Contains(g.planted, addr) }

// expect compares what lies at an address.
func (g *Guest) expect(frame, addr uint64, code []byte) error {
	there := make([]byte, len(code))
	if err := g.m.readFrame(frame, addr, there); err != nil {
		return err
	}
	if !bytes.Equal(there, code) {
		return fmt.Errorf("at %#x lies % x, not % x", addr, there, code)
	}
	return nil
}

// replace changes code of a paused guest.
func (g *Guest) replace(addr uint64, from, to []byte) error {
	if err := g.expect(g.traps[addr], addr, from); err != nil {
		return err
	}
	return g.m.write(g.traps[addr], addr, to)
}

// Adopt leaves traps where they are, and says where that is.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	for a, frame := range g.traps {
		if slices.Contains(addrs, a) && g.expect(frame, a, g.f.code()) == nil {
			found = append(found, a)
		}
	}
	g.planted = slices.Sorted(slices.Values(found))
	return found, nil
}

// Run waits for the next hit.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	if g.err != nil {
		return guest.Stop{}, g.err
	}
	if g.last.Hit {
		return guest.Stop{}, errors.New("the last hit was not answered")
	}
	if !g.running {
		if err := g.resume(); err != nil {
			return guest.Stop{}, err
		}
	}
	g.running, g.last = true, guest.Stop{}
	var end time.Time
	if limit > 0 {
		end = time.Now().Add(limit)
	}
	for {
		until := time.Now().Add(look)
		if limit > 0 && end.Before(until) {
			until = end
		}
		s, hit, err := g.wait(until)
		if err == nil && !hit {
			err = g.alive()
		}
		switch {
		case err != nil:
			return guest.Stop{}, err
		case hit:
			g.running, g.last = false, s
			return s, nil
		case limit > 0 && !time.Now().Before(end):
			g.running = false
			g.m.forget()
			return guest.Stop{At: time.Now()}, g.pause()
		}
	}
}

func (g *Guest) wait(until time.Time) (guest.Stop, bool, error) {
	if g.attached {
		s, hit, err := g.f.next(until)
		return s, hit, g.ended(err)
	}
	time.Sleep(time.Until(until))
	return guest.Stop{}, false, nil
}

// Answer lets the virtual CPU of the last hit go on.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering virtual CPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	if err := g.ended(g.f.answer(s, a)); err != nil {
		return err
	}
	g.running, g.last = true, guest.Stop{}
	return nil
}

// Freeze pauses the domain once more.
func (g *Guest) Freeze() error {
	if g.err != nil {
		return g.err
	}
	return g.pause()
}

// Release puts the kernel's code back and lets the guest run.
func (g *Guest) Release() error {
	if len(g.traps) == 0 {
		return fmt.Errorf("domain %d has no traps of ours that are known of here", g.domain)
	}
	if err := g.pause(); err != nil {
		return err
	}
	if !g.attached {
		if err := g.f.attach(); err != nil {
			return err
		}
	}
	for a, frame := range g.traps {
		if g.expect(frame, a, g.f.code()) == nil {
			if err := g.m.write(frame, a, nop); err != nil {
				return err
			}
		}
	}
	g.planted = nil
	if err := g.f.detach(); err != nil {
		return err
	}
	g.taken = false
	if err := g.resume(); err != nil {
		return err
	}
	g.err = errReleased
	return g.forgetTraps()
}

// Close gives up what this process holds, not the guest.
func (g *Guest) Close() error {
	g.m.drop()
	if g.f != nil {
		g.f.close()
	}
	g.err = errors.New("the guest was closed")
	return g.h.close()
}

// Identity names the domain.
func (g *Guest) Identity() string { return g.id }
