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

// nop is what a trap replaces: x86_nops[5] of Linux, which ftrace writes over the call at a
// function's entry.
var nop = []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}

// loop is a jmp to itself.
var loop = []byte{0xeb, 0xfe}

const (
	kernelMap = 0xffffffff80000000 // __START_KERNEL_map of Linux: physical address 0 of a kernel that is not moved

	pollInterval  = time.Millisecond       // between two polls of a vCPU
	aliveInterval = 100 * time.Millisecond // between two checks that the domain still exists
	forever       = 1 << 62                // more than a century
)

// facility is one of Xen's facilities for traps. Its methods keep errors in the hypervisor.
type facility interface {
	// attach starts the delivery of hits. The domain is paused. If another process guarded it
	// before, hits that were not answered happen again.
	attach()
	// next returns the next hit, or a Stop without Hit if there is none by then.
	next(until time.Time) guest.Stop
	// answer answers a hit and lets its vCPU run.
	answer(s *guest.Stop, a guest.Answer)
	// detach undoes attach. The domain is paused and has no traps.
	detach()
}

// Guest is a domain of Xen.
type Guest struct {
	Options
	*hypervisor
	vcpus  int
	loaded int   // the vCPU whose state is in shared.context
	space  space // the kernel's address space, as seen last
	id     string
	lock   int // descriptor of the locked lock file

	f        facility
	chosen   string // kind of facility and trap
	code     []byte // code of a trap, as long as nop
	attached bool
	traps    map[uint64]uint64 // frames of all addresses that ever had a trap
	planted  []uint64
	unhold   func() // removes the loop of Hold, if there is one

	resumed bool // earlier pauses were undone; see resume
	running bool
	last    guest.Stop
}

var errGone = errors.New("the guest was released or closed")

// loadVCPU reads the state of a vCPU into shared.context and updates g.space from it. ENODATA, the
// error for a vCPU that was not started, is the only error that is not kept.
func (g *Guest) loadVCPU(vcpu int) (guest.Registers, error) {
	// struct xen_domctl_vcpucontext: vcpu, ctxt
	err := g.domctl(getContext, uint64(vcpu), address(&g.mem.context))
	if err != nil {
		if err != unix.ENODATA {
			g.check(getContext.doing, err)
		}
		return guest.Registers{}, err
	}
	g.loaded = vcpu
	u := &g.mem.context.regs
	r := guest.Registers{RDI: u.rdi, RSI: u.rsi, RDX: u.rdx, RCX: u.rcx, R8: u.r8, R9: u.r9, RSP: u.rsp, RIP: u.rip, CS: uint16(u.cs)}
	if g.pv && g.mem.context.flags&inKernel != 0 {
		r.CS = 0x10 // kernel CS without Xen; a PV kernel runs at level 3, too
	}
	if s := g.mem.context.space(); s.levels > 0 && r.CPL() == 0 {
		g.space = s
	}
	return r, nil
}

// setRIP sets the registers of the vCPU in shared.context, with a new rip. Xen would also reset the
// extended state to that of a CPU without AVX, because the context does not contain it. setRIP
// saves and restores it.
func (g *Guest) setRIP(rip uint64) {
	vcpu, union := uint64(g.loaded), &g.mem.domctl.union
	// struct xen_domctl_vcpuextstate: vcpu, xfeature_mask, size, buffer
	g.do(getXstate, vcpu) // returns the maximum size
	if union[2] > uint64(len(g.mem.xstate)) {
		g.check(getXstate.doing, fmt.Errorf("it has %d bytes", union[2]))
	}
	g.do(getXstate, vcpu, union[1], union[2], address(&g.mem.xstate)) // returns the state and its size
	features, size := union[1], union[2]
	g.mem.context.regs.rip = rip
	g.do(putContext, vcpu, address(&g.mem.context))
	g.do(putXstate, vcpu, features, size, address(&g.mem.xstate))
}

// resume undoes one pause. The first time it undoes all pauses: that of xl create -p, and those of
// a process that died. But a breakpoint pauses the domain, too, and that pause must stay. So the
// vCPUs are paused until resume is done.
func (g *Guest) resume() {
	if g.resumed {
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
	if err != unix.EINVAL { // not paused any more
		g.check(unpauseDomain.doing, err)
	}
	g.do(pauseDomain) // Xen unpauses vCPUs only while the domain is paused
	for v := 0; v < g.vcpus && g.chosen == string(Debug); v++ {
		for g.domctl(unpauseVCPU, uint64(v)) == nil { // also undoes pauses of a process that died here
		}
	}
	g.do(unpauseDomain)
	g.resumed = true
}

// checkAlive keeps an error if the domain has ended or has left this host.
func (g *Guest) checkAlive() {
	i, err := g.info()
	switch {
	case err != nil || i.flags&(flagShutdown|flagDying) == 0:
	case i.reason == shutdownSuspend:
		err = errors.New("the domain was suspended to be saved or migrated: the guest cannot be guarded elsewhere")
	default:
		err = fmt.Errorf("%w: domain %d was shut down (reason %d)", guest.ErrEnded, g.domain, i.reason)
	}
	g.check(getInfo.doing, err)
}

// Fresh reports whether no vCPU has run yet, neither here nor before the domain was saved. A kernel
// that has run has page tables, and that of a PV guest has a handler for breakpoints.
func (g *Guest) Fresh() (bool, error) {
	i, err := g.info()
	if err != nil || i.cpuTime > 0 {
		return false, err
	}
	_, err = g.loadVCPU(0)
	if g.pv {
		return err == nil && g.mem.context.traps[vectorBP][1] == 0, err
	}
	return err == nil && g.mem.context.space().levels == 0, err
}

// ReadImage reads the frames of the kernel. In a PV guest, physical addresses are not frame
// numbers. There it uses the kernel's page tables, which the guest's context always has.
func (g *Guest) ReadImage(distance uint64, ranges []*guest.Range) error {
	g.dropStale()
	for _, a := range g.planted {
		g.check("checking the traps", g.expect(g.traps[a], a, g.code))
	}
	if !g.pv {
		g.fill(ranges, func(addr uint64) (uint64, error) { return (addr + distance) / pageSize, nil })
	} else if _, err := g.loadVCPU(0); err == nil {
		g.read(g.mem.context.space(), ranges...)
	}
	return g.err
}

// Trapped returns 0: the traps are in the guest's memory.
func (g *Guest) Trapped() int { return 0 }

// VCPUs returns the registers of the vCPUs that were started.
func (g *Guest) VCPUs() (all []guest.Registers, err error) {
	for v := range g.vcpus {
		if r, err := g.loadVCPU(v); err == nil {
			all = append(all, r)
		}
	}
	return all, g.err
}

// Read reads memory as the vCPU sees it.
func (g *Guest) Read(vcpu int, ranges []*guest.Range) error {
	s := g.space
	if !g.last.Hit || g.last.VCPU != vcpu {
		if _, err := g.loadVCPU(vcpu); err != nil {
			return err
		}
		s = g.mem.context.space()
	}
	g.read(s, ranges...)
	return g.err
}

// Hold stops a fresh guest at an instruction: it replaces the instruction with a loop, which the
// first Plant removes.
func (g *Guest) Hold(addr uint64, code []byte) error {
	g.dropStale()
	_, err := g.loadVCPU(0)
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
		return fmt.Errorf("the loaded kernel is not the profile's: %w", err)
	}
	g.write(frame, addr, loop)
	g.resume()
	for g.err == nil && g.mem.context.regs.rip != addr {
		time.Sleep(pollInterval)
		_, err = g.loadVCPU(0)
		g.check(getContext.doing, err)
		g.checkAlive()
	}
	g.do(pauseDomain)
	if r, err := g.loadVCPU(0); err == nil && (r.RIP != addr || r.CPL() != 0) {
		g.check("holding", fmt.Errorf("vCPU 0 has left the loop at %#x and is at %#x", addr, r.RIP))
	}
	g.unhold = func() { g.write(frame, addr, code[:len(loop)]) }
	return g.err
}

// Plant records which traps it is going to write, and then writes those that differ. After an error
// the domain stays paused.
func (g *Guest) Plant(addrs []uint64) error {
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	g.do(pauseDomain)
	notYet := g.locate(want)
	if notYet == nil {
		g.check("recording the traps", g.saveTraps())
		if len(want) > 0 {
			g.attach()
		}
		g.replace(g.planted, want, g.code, nop)
		g.replace(want, g.planted, nop, g.code)
		g.planted = want
		g.unhold()
		g.unhold = func() {}
	}
	g.do(unpauseDomain)
	return errors.Join(g.err, notYet)
}

// locate finds the frames of the addresses, all of them or none.
func (g *Guest) locate(want []uint64) error {
	g.dropStale()
	if g.space.levels == 0 {
		_, _ = g.VCPUs() // finds the space of a vCPU in the kernel
	}
	found := maps.Clone(g.traps)
	for _, a := range want {
		if g.isOurs(a) {
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

// replace changes the code at those addrs that are not in others.
func (g *Guest) replace(addrs, others []uint64, from, to []byte) {
	for _, a := range addrs {
		if !slices.Contains(others, a) {
			g.check("changing a trap", g.expect(g.traps[a], a, from))
			g.write(g.traps[a], a, to)
		}
	}
}

// isOurs reports whether there may be a trap of ours.
func (g *Guest) isOurs(addr uint64) bool {
	_, known := g.traps[addr]
	return known
}

func (g *Guest) isPlanted(addr uint64) bool { return slices.Contains(g.planted, addr) }

// remaining returns the addresses that still have a trap.
func (g *Guest) remaining() (found []uint64) {
	g.dropStale()
	for a, frame := range g.traps {
		if g.expect(frame, a, g.code) == nil {
			found = append(found, a)
		}
	}
	return found
}

// Adopt leaves the traps where they are, and returns where that is.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	g.planted = slices.DeleteFunc(g.remaining(), func(a uint64) bool { return !slices.Contains(addrs, a) })
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
	for end := time.Now().Add(cmp.Or(limit, forever)); g.err == nil; g.checkAlive() {
		until := time.Now().Add(min(aliveInterval, time.Until(end)))
		if g.attached {
			g.last = g.f.next(until)
		} else {
			time.Sleep(time.Until(until))
		}
		switch {
		case g.last.Hit:
			return g.last, g.err
		case !time.Now().Before(end):
			g.dropStale()
			g.do(pauseDomain)
			g.running = false
			return guest.Stop{At: time.Now()}, g.err
		}
	}
	return guest.Stop{}, g.err
}

// Answer answers the last hit and lets its vCPU run.
func (g *Guest) Answer(s *guest.Stop, a guest.Answer) error {
	if !g.last.Hit || s.VCPU != g.last.VCPU || s.Regs.RIP != g.last.Regs.RIP {
		return fmt.Errorf("answering vCPU %d at %#x: that is not the last hit", s.VCPU, s.Regs.RIP)
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

// Release restores the kernel's code and lets the guest run. An answer that a vCPU has not begun to
// carry out may be lost: it is then as if its hit had not happened.
func (g *Guest) Release() error {
	if len(g.traps) == 0 {
		g.do(unpauseDomain) // undoes the pause of Open
		return errors.Join(fmt.Errorf("no traps of domain %d are recorded on this host", g.domain), g.err)
	}
	g.do(pauseDomain)
	g.attach()
	g.replace(g.remaining(), nil, g.code, nop)
	g.planted = nil
	g.f.detach()
	g.resumed = false
	g.resume()
	if g.err != nil {
		return g.err
	}
	g.err = errGone
	return os.Remove(g.notePath())
}

// Close releases what this process holds and leaves the guest as it is.
func (g *Guest) Close() error {
	if g.fd < 0 { // already closed, or never opened
		return nil
	}
	if m, ok := g.f.(*monitor); ok {
		m.close()
	}
	g.err = errGone
	_ = unix.Close(g.lock)
	return g.close()
}

// Identity names this run of the domain.
func (g *Guest) Identity() string { return g.id }
