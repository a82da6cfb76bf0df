package xen

import (
	"errors"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const vectorDB, vectorBP = 1, 3 // X86_EXC_DB, X86_EXC_BP

// breakpoint is int3, and what it leaves of the nop.
var breakpoint = []byte{0xcc, 0x1f, 0x44, 0x00, 0x00}

// debug is Xen's facility for debuggers: each breakpoint in the kernel pauses the domain,
// and says so to who asks.
type debug struct{ g *Guest }

// attach has each virtual CPU that stands behind a trap hit it once more.
func (d *debug) attach() {
	d.again()
	d.g.do(setDebugging, 1)
}

func (d *debug) detach() {
	d.again()
	d.g.do(setDebugging, 0)
}

// status gives the virtual CPU that has hit a breakpoint, and forgets it: -1 if there is
// none, or if the domain is not paused (struct xen_domctl_gdbsx_domstatus).
func (d *debug) status() (vcpu int, paused bool) {
	if d.g.do(getBreakpoint); d.g.err != nil {
		return -1, false
	}
	status := d.g.mem.domctl.union[0] // paused, vcpu_id
	return int(int32(status >> 32)), uint8(status) != 0
}

// behind tells whether a virtual CPU with these registers has hit a trap.
func (d *debug) behind(r guest.Registers) bool { return r.CPL() == 0 && d.g.ours(r.RIP-1) }

// again puts each virtual CPU that stands behind a trap before it. A breakpoint that is not
// ours, which Xen tells of once, is given back.
func (d *debug) again() {
	for v, _ := d.status(); v >= 0; v, _ = d.status() {
		if r, err := d.g.look(v); err == nil && !d.behind(r) {
			d.inject(vectorBP)
		}
	}
	for v := range d.g.vcpus {
		if r, err := d.g.look(v); err == nil && d.behind(r) {
			d.g.goTo(r.RIP - 1)
		}
	}
}

// next polls: Xen sends no event when a breakpoint is hit. The longer there was none, the
// less often.
func (d *debug) next(until time.Time) (s guest.Stop) {
	for pause := 20 * time.Microsecond; d.g.err == nil; pause = min(2*pause, glance) {
		vcpu, paused := d.status()
		switch {
		case vcpu >= 0:
			s = d.stopped(vcpu)
		case paused:
			d.debugExceptions()
		}
		if s.Hit || !time.Now().Before(until) {
			break
		}
		time.Sleep(pause)
	}
	return s
}

// stopped looks at what a virtual CPU has hit. A breakpoint that is not ours is given back
// to the guest.
func (d *debug) stopped(vcpu int) (s guest.Stop) {
	at := time.Now()
	d.g.forget()
	r, err := d.g.look(vcpu)
	if d.g.check(getContext.doing, err); err != nil {
		return s
	}
	addr := r.RIP - 1
	switch {
	case r.CPL() == 3 && d.g.pv: // where a breakpoint is no matter of Xen
		d.g.check("looking at a breakpoint", errors.New("the virtual CPU is not at it any more: somebody has unpaused the domain"))
	case !d.behind(r):
		d.inject(vectorBP)
	case !d.g.isPlanted(addr): // the trap was removed meanwhile
		d.g.goTo(addr)
	default:
		r.RIP = addr
		return guest.Stop{VCPU: vcpu, Hit: true, Regs: r, At: at}
	}
	d.g.do(unpauseDomain)
	return s
}

// Bits of DR6 that say what a debug exception was for.
const dr6Causes = 0xf | 1<<13 | 1<<14 // B0 to B3, BD, BS

// debugExceptions gives back what a virtual CPU in the kernel had, and has not been told
// of; Xen does not say who had it. A domain that somebody paused has none.
func (d *debug) debugExceptions() {
	for v := range d.g.vcpus {
		r, err := d.g.look(v)
		c := &d.g.mem.context
		if err == nil && (!d.g.pv || r.CPL() == 0) && c.debug[6]&dr6Causes != 0 && r.RIP != c.traps[vectorDB][1] {
			d.inject(vectorDB)
			d.g.do(unpauseDomain)
			return
		}
	}
}

func (d *debug) answer(s *guest.Stop, a guest.Answer) {
	if d.g.looked != s.VCPU {
		_, err := d.g.look(s.VCPU)
		d.g.check(getContext.doing, err)
	}
	if a.Return {
		d.g.mem.context.regs.rax, d.g.mem.context.regs.rsp = a.RAX, a.RSP
	}
	d.g.goTo(a.RIP)
	d.g.do(unpauseDomain)
}

// Flags of the processor that an exception clears.
const flagsCleared = 1<<8 | 1<<14 | 1<<16 | 1<<17 | 1<<18 // TF, NT, RF, VM, AC

const (
	flagIF = 1 << 9

	flatKernelCS, flatKernelSS = 0xe033, 0xe02b // FLAT_KERNEL_CS and _SS

	givingBack = "giving an exception back to the guest"

	maskOffset = 1 // of evtchn_upcall_mask in struct vcpu_info
	maskEvents = 4 // TI_GET_IF: the handler runs with events masked
)

// inject gives an exception to the virtual CPU of the context, whose kernel had it. For a PV
// guest it does what Xen itself does if no debugger is attached (create_bounce_frame,
// xen/arch/x86/x86_64/entry.S): a frame on the stack, and on to the handler that the kernel
// has registered.
func (d *debug) inject(vector int) {
	if !d.g.pv {
		op := dmOp{vcpu: uint32(d.g.looked), vector: uint8(vector), kind: dmHardware}
		if vector == vectorBP { // behind which the virtual CPU is already
			op.kind, op.length = dmSoftware, 1
			d.g.goTo(d.g.mem.context.regs.rip - 1)
		}
		d.g.raise(op)
		return
	}
	regs, trap := &d.g.mem.context.regs, d.g.mem.context.traps[vector]
	handler := trap[1]
	if handler == 0 || d.g.Upcall == 0 {
		d.g.check(givingBack, errors.New("the kernel has no handler for it yet, or the profile does not say where its xen_vcpu_info is"))
	}
	mask := &guest.Range{Addr: d.g.mem.context.gsBase + d.g.Upcall + maskOffset, Buf: make([]byte, 1)}
	d.g.read(d.g.mem.context.space(), mask)
	d.g.check(givingBack, mask.Err)
	masked := uint64(mask.Buf[0])
	flags := regs.rflags &^ flagIF
	if masked == 0 {
		flags |= flagIF
	}
	frame := []uint64{regs.rcx, regs.r11, regs.rip, masked<<32 | regs.cs&0xfffc, flags, regs.rsp, regs.ss & 0xffff}
	stack := regs.rsp&^15 - 8*uint64(len(frame))
	for i, v := range frame {
		d.put(stack+8*uint64(i), le.AppendUint64(nil, v))
	}
	if trap[0]>>8&maskEvents != 0 {
		d.put(mask.Addr, []byte{1})
	}
	regs.rflags &^= flagsCleared
	regs.ss, regs.rsp, regs.cs = flatKernelSS, stack, flatKernelCS
	d.g.goTo(handler)
}

// put writes where the virtual CPU of the context sees it.
func (d *debug) put(addr uint64, b []byte) {
	frame, err := d.g.translate(d.g.mem.context.space(), addr)
	d.g.check(givingBack, err)
	d.g.write(frame, addr, b)
}
