package xen

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
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

	glance  = time.Millisecond       // between looks at a virtual CPU that is waited for
	look    = 100 * time.Millisecond // between looks at whether the domain is still there
	forever = 1 << 62                // more than a century
)

// facility is what Xen offers for traps. Its errors are kept in the hypervisor.
type facility interface {
	// attach makes hits arrive. The domain is paused, and may have been somebody
	// else's before: what was hit and not answered is hit again.
	attach()
	// next gives the next hit, if there is one by then.
	next(until time.Time) guest.Stop
	// answer lets the virtual CPU of a hit go on.
	answer(s *guest.Stop, a guest.Answer)
	// detach is the reverse of attach. The domain is paused and has no traps.
	detach()
}

// Guest is a domain.
type Guest struct {
	Options
	*hypervisor
	vcpus  int
	looked int   // the virtual CPU whose state is in shared.context
	space  space // of the kernel, where it was seen last
	id     string
	lock   int // a file that one process at a time has locked

	f        facility
	chosen   string // the kind of f, and of its trap
	code     []byte // that a trap of f is, as long as nop
	attached bool
	traps    map[uint64]uint64 // frames of all addresses that ever were trapped
	planted  []uint64
	letGo    func() // takes the loop of Hold away, if there is one

	taken   bool // paused by somebody else before; see resume
	running bool
	last    guest.Stop
}

var errGone = errors.New("the guest was released or closed")

// look gets the state of a virtual CPU into shared.context, and from it the kernel's
// address space. ENODATA, of one that was not started yet, is the only error that is not kept.
func (g *Guest) look(vcpu int) (guest.Registers, error) {
	// struct xen_domctl_vcpucontext: vcpu, ctxt
	err := g.domctl(getContext, uint64(vcpu), address(&g.mem.context))
	if err != nil {
		if err != unix.ENODATA {
			g.check(getContext.doing, err)
		}
		return guest.Registers{}, err
	}
	g.looked = vcpu
	u := &g.mem.context.regs
	r := guest.Registers{RDI: u.rdi, RSI: u.rsi, RDX: u.rdx, RCX: u.rcx, R8: u.r8, R9: u.r9, RSP: u.rsp, RIP: u.rip, CS: uint16(u.cs)}
	if g.pv && g.mem.context.flags&inKernel != 0 {
		r.CS = 0x10 // of a kernel without Xen; this one runs at the processor's level 3, too
	}
	if s := g.mem.context.space(); s.levels > 0 && r.CPL() == 0 {
		g.space = s
	}
	return r, nil
}

// goTo changes where the virtual CPU of the context goes on, and what else was changed
// there. Xen would reset the extended part, of which the context has nothing, to that of a
// CPU without AVX: it is carried around the call.
func (g *Guest) goTo(rip uint64) {
	vcpu, union := uint64(g.looked), &g.mem.domctl.union
	// struct xen_domctl_vcpuextstate: vcpu, xfeature_mask, size, buffer
	g.do(getXstate, vcpu) // tells the size that it may have
	if union[2] > uint64(len(g.mem.xstate)) {
		g.check(getXstate.doing, fmt.Errorf("it has %d bytes", union[2]))
	}
	g.do(getXstate, vcpu, union[1], union[2], address(&g.mem.xstate)) // and that it has
	features, size := union[1], union[2]
	g.mem.context.regs.rip = rip
	g.do(putContext, vcpu, address(&g.mem.context))
	g.do(putXstate, vcpu, features, size, address(&g.mem.xstate))
}

// resume takes one pause back; the first time, all that there are: those of xl create
// -p and of a process that died. A breakpoint pauses the domain, too, and must not be among
// them: the virtual CPUs stand still until it is done.
func (g *Guest) resume() {
	if g.taken {
		g.do(unpauseDomain)
		return
	}
	for v := 0; v < g.vcpus && g.chosen == string(Debug); v++ {
		g.do(pauseVCPU, uint64(v))
	}
	err := g.domctl(unpauseDomain)
	for err == nil {
		err = g.domctl(unpauseDomain)
	}
	if err != unix.EINVAL { // it is not paused any more
		g.check(unpauseDomain.doing, err)
	}
	g.do(pauseDomain) // without which Xen frees no virtual CPU
	for v := 0; v < g.vcpus && g.chosen == string(Debug); v++ {
		for g.domctl(unpauseVCPU, uint64(v)) == nil { // those of a process that died here, too
		}
	}
	g.do(unpauseDomain)
	g.taken = true
}

// alive keeps it as an error if the domain has ended, or has left this host.
func (g *Guest) alive() {
	i, err := g.info()
	switch {
	case err != nil || i.flags&(flagShutdown|flagDying) == 0:
	case i.reason == shutdownSuspend:
		err = errors.New("the domain was suspended, to be saved or migrated: the guest cannot be guarded elsewhere")
	default:
		err = fmt.Errorf("%w: domain %d was shut down (reason %d)", guest.ErrEnded, g.domain, i.reason)
	}
	g.check(getInfo.doing, err)
}

// Fresh reports whether no virtual CPU has run yet, here or before the domain was saved: a kernel
// that runs has page tables, and one of a PV guest has a handler for breakpoints.
func (g *Guest) Fresh() (bool, error) {
	i, err := g.info()
	if err != nil || i.cpuTime > 0 {
		return false, err
	}
	_, err = g.look(0)
	if g.pv {
		return err == nil && g.mem.context.traps[vectorBP][1] == 0, err
	}
	return err == nil && g.mem.context.space().levels == 0, err
}

// ReadImage reads the frames in which the kernel lies. A PV guest has others than its kernel
// thinks, and is seen through the kernel's page tables, which its context always has.
func (g *Guest) ReadImage(distance uint64, ranges []*guest.Range) error {
	g.forget()
	for _, a := range g.planted {
		g.check("looking for the traps", g.expect(g.traps[a], a, g.code))
	}
	if !g.pv {
		g.fill(ranges, func(addr uint64) (uint64, error) { return (addr + distance) / pageSize, nil })
	} else if _, err := g.look(0); err == nil {
		g.read(g.mem.context.space(), ranges...)
	}
	return g.err
}

// Trapped gives 0: the traps lie in the guest's memory.
func (g *Guest) Trapped() int { return 0 }

// VCPUs gives the registers of those that were started.
func (g *Guest) VCPUs() (all []guest.Registers, err error) {
	for v := range g.vcpus {
		if r, err := g.look(v); err == nil {
			all = append(all, r)
		}
	}
	return all, g.err
}

// Read reads as the virtual CPU sees memory.
func (g *Guest) Read(vcpu int, ranges []*guest.Range) error {
	s := g.space
	if !g.last.Hit || g.last.VCPU != vcpu {
		if _, err := g.look(vcpu); err != nil {
			return err
		}
		s = g.mem.context.space()
	}
	g.read(s, ranges...)
	return g.err
}

// Hold keeps a fresh guest from getting beyond an instruction by a loop in its place, which
// the first Plant takes away.
func (g *Guest) Hold(addr uint64, code []byte) error {
	g.forget()
	_, err := g.look(0)
	frame := (addr - kernelMap) >> 12 // before paging is on
	if s := g.mem.context.space(); err == nil && s.levels > 0 {
		frame, err = g.translate(s, addr)
	}
	if err != nil {
		return err
	}
	if there, err := g.frame(frame, addr); err != nil || bytes.HasPrefix(there, make([]byte, len(code))) {
		return fmt.Errorf("%w: no kernel is in memory", errors.ErrUnsupported)
	}
	if err := g.expect(frame, addr, code); err != nil {
		return fmt.Errorf("another kernel than the profile's was loaded: %w", err)
	}
	g.write(frame, addr, loop)
	g.resume()
	for g.err == nil && g.mem.context.regs.rip != addr {
		time.Sleep(glance)
		_, err = g.look(0)
		g.check(getContext.doing, err)
		g.alive()
	}
	g.do(pauseDomain)
	if r, err := g.look(0); err == nil && (r.RIP != addr || r.CPL() != 0) {
		g.check("holding", fmt.Errorf("virtual CPU 0 has left the loop at %#x for %#x", addr, r.RIP))
	}
	g.letGo = func() { g.write(frame, addr, code[:len(loop)]) }
	return g.err
}

// Plant writes what differs, and first notes what it is going to write. After an error the
// domain stays paused.
func (g *Guest) Plant(addrs []uint64) error {
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	g.do(pauseDomain)
	notYet := g.locate(want)
	if notYet == nil {
		g.check("noting the traps", g.saveTraps())
		if len(want) > 0 {
			g.attach()
		}
		g.replace(g.planted, want, g.code, nop)
		g.replace(want, g.planted, nop, g.code)
		g.planted = want
		g.letGo()
		g.letGo = func() {}
	}
	g.do(unpauseDomain)
	return errors.Join(g.err, notYet)
}

// locate learns where the addresses lie, all of them or none.
func (g *Guest) locate(want []uint64) error {
	g.forget()
	if g.space.levels == 0 {
		_, _ = g.VCPUs() // one of them is in the kernel
	}
	found := maps.Clone(g.traps)
	for _, a := range want {
		if g.ours(a) {
			continue
		}
		frame, err := g.translate(g.space, a)
		if err == nil {
			err = g.expect(frame, a, nop)
		}
		if err != nil {
			return fmt.Errorf("%w: %#x: %w", guest.ErrNotYet, a, err)
		}
		found[a] = frame
	}
	g.traps = found
	return nil
}

func (g *Guest) attach() {
	if !g.attached {
		g.f.attach()
		g.attached = true
	}
}

// replace changes the code at the addresses that are not among the others.
func (g *Guest) replace(addrs, others []uint64, from, to []byte) {
	for _, a := range addrs {
		if !slices.Contains(others, a) {
			g.check("changing a trap", g.expect(g.traps[a], a, from))
			g.write(g.traps[a], a, to)
		}
	}
}

// ours tells whether there may be a trap of ours.
func (g *Guest) ours(addr uint64) bool {
	_, known := g.traps[addr]
	return known
}

func (g *Guest) isPlanted(addr uint64) bool { return slices.Contains(g.planted, addr) }

// left are the addresses at which there is a trap.
func (g *Guest) left() (found []uint64) {
	g.forget()
	for a, frame := range g.traps {
		if g.expect(frame, a, g.code) == nil {
			found = append(found, a)
		}
	}
	return found
}

// Adopt leaves traps where they are, and says where that is.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	g.planted = slices.DeleteFunc(g.left(), func(a uint64) bool { return !slices.Contains(addrs, a) })
	return slices.Clone(g.planted), g.err
}

// Run waits for the next hit.
func (g *Guest) Run(limit time.Duration) (guest.Stop, error) {
	if g.last.Hit {
		return guest.Stop{}, errors.New("the last hit was not answered")
	}
	if !g.running {
		g.resume()
		g.running = true
	}
	for end := time.Now().Add(cmp.Or(limit, forever)); g.err == nil; g.alive() {
		until := time.Now().Add(min(look, time.Until(end)))
		if g.attached {
			g.last = g.f.next(until)
		} else {
			time.Sleep(time.Until(until))
		}
		switch {
		case g.last.Hit:
			return g.last, g.err
		case !time.Now().Before(end):
			g.forget()
			g.do(pauseDomain)
			g.running = false
			return guest.Stop{At: time.Now()}, g.err
		}
	}
	return guest.Stop{}, g.err
}

// Answer lets the virtual CPU of the last hit go on.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering virtual CPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
	}
	g.f.answer(s, a)
	g.running, g.last = true, guest.Stop{}
	return g.err
}

// Freeze pauses the domain once more.
func (g *Guest) Freeze() error {
	if errors.Is(g.err, errGone) {
		return g.err
	}
	return g.domctl(pauseDomain)
}

// Release puts the kernel's code back and lets the guest run. An answer that a virtual CPU has
// not begun to carry out may be lost by that, as if its hit had not been.
func (g *Guest) Release() error {
	if len(g.traps) == 0 {
		g.do(unpauseDomain) // after Open
		return errors.Join(fmt.Errorf("domain %d has no traps of ours that are known of here", g.domain), g.err)
	}
	g.do(pauseDomain)
	g.attach()
	g.replace(g.left(), nil, g.code, nop)
	g.planted = nil
	g.f.detach()
	g.taken = false
	g.resume()
	if g.err != nil {
		return g.err
	}
	g.err = errGone
	return os.Remove(g.notePath())
}

// Close gives up what this process holds, not the guest.
func (g *Guest) Close() error {
	if g.fd < 0 { // it did so before, or holds nothing
		return nil
	}
	if m, ok := g.f.(*monitor); ok {
		m.close()
	}
	g.err = errGone
	_ = unix.Close(g.lock)
	return g.close()
}

// Identity names the domain.
func (g *Guest) Identity() string { return g.id }
