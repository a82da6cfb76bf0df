package xen

import (
	"errors"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const vectorDB, vectorBP = 1, 3 // X86_EXC_DB, X86_EXC_BP

// breakpoint is int3 and the remaining bytes of the nop.
var breakpoint = []byte{0xcc, 0x1f, 0x44, 0x00, 0x00}

// debug is Xen's facility for debuggers: each breakpoint in the kernel pauses the domain; the
// enforcer has to poll for it.
type debug struct{ g *Guest }

// attach makes each vCPU that is behind a trap hit it once more.
func (d *debug) attach() {
	d.rewind()
	d.g.do(setDebugging, 1)
}

func (d *debug) detach() {
	d.rewind()
	d.g.do(setDebugging, 0)
}

// status returns and clears the vCPU that hit a breakpoint. It returns -1 if there is none or the
// domain is not paused (struct xen_domctl_gdbsx_domstatus).
func (d *debug) status() (vcpu int, paused bool) {
	if d.g.do(getBreakpoint); d.g.err != nil {
		return -1, false
	}
	status := d.g.mem.domctl.union[0] // paused, vcpu_id
	return int(int32(status >> 32)), uint8(status) != 0
}

// hasHit reports whether a vCPU with these registers has hit a trap.
func (d *debug) hasHit(r guest.Registers) bool { return r.CPL() == 0 && d.g.isOurs(r.RIP-1) }

// rewind moves each vCPU that is behind a trap back to it. Xen reports other breakpoints only
// once, so rewind returns those to the guest.
func (d *debug) rewind() {
	for v, _ := d.status(); v >= 0; v, _ = d.status() {
		if r, err := d.g.loadVCPU(v); err == nil && !d.hasHit(r) {
			d.inject(vectorBP)
		}
	}
	for v := range d.g.vcpus {
		if r, err := d.g.loadVCPU(v); err == nil && d.hasHit(r) {
			d.g.setRIP(r.RIP - 1)
		}
	}
}

// next polls, because Xen sends no event for a breakpoint. It polls less often the longer there is
// no hit.
func (d *debug) next(until time.Time) (s guest.Stop) {
	for pause := 20 * time.Microsecond; d.g.err == nil; pause = min(2*pause, pollInterval) {
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

// stopped handles the breakpoint that a vCPU has hit. It returns breakpoints that are not ours to
// the guest.
func (d *debug) stopped(vcpu int) (s guest.Stop) {
	at := time.Now()
	d.g.dropStale()
	r, err := d.g.loadVCPU(vcpu)
	if d.g.check(getContext.doing, err); err != nil {
		return s
	}
	addr := r.RIP - 1
	switch {
	case r.CPL() == 3 && d.g.pv: // Xen does not see breakpoints of PV user space
		d.g.check("checking a breakpoint", errors.New("the vCPU has left it: somebody unpaused the domain"))
	case !d.hasHit(r):
		d.inject(vectorBP)
	case !d.g.isPlanted(addr): // the trap was removed meanwhile
		d.g.setRIP(addr)
	default:
		r.RIP = addr
		return guest.Stop{VCPU: vcpu, Hit: true, Regs: r, At: at}
	}
	d.g.do(unpauseDomain)
	return s
}

// Bits of DR6 that name the cause of a debug exception.
const dr6Causes = 0xf | 1<<13 | 1<<14 // B0 to B3, BD, BS

// debugExceptions returns a debug exception to the vCPU that had it in the kernel. Xen does not say
// which vCPU that was. If somebody paused the domain, there is none.
func (d *debug) debugExceptions() {
	for v := range d.g.vcpus {
		r, err := d.g.loadVCPU(v)
		c := &d.g.mem.context
		if err == nil && (!d.g.pv || r.CPL() == 0) && c.debug[6]&dr6Causes != 0 && r.RIP != c.traps[vectorDB][1] {
			d.inject(vectorDB)
			d.g.do(unpauseDomain)
			return
		}
	}
}

func (d *debug) answer(s *guest.Stop, a guest.Answer) {
	if d.g.loaded != s.VCPU {
		_, err := d.g.loadVCPU(s.VCPU)
		d.g.check(getContext.doing, err)
	}
	if a.Return {
		d.g.mem.context.regs.rax, d.g.mem.context.regs.rsp = a.RAX, a.RSP
	}
	d.g.setRIP(a.RIP)
	d.g.do(unpauseDomain)
}

// Flags that the processor clears for an exception.
const flagsCleared = 1<<8 | 1<<14 | 1<<16 | 1<<17 | 1<<18 // TF, NT, RF, VM, AC

const (
	flagIF = 1 << 9

	flatKernelCS, flatKernelSS = 0xe033, 0xe02b // FLAT_KERNEL_CS and _SS

	givingBack = "returning an exception to the guest"

	maskOffset = 1 // of evtchn_upcall_mask in struct vcpu_info
	maskEvents = 4 // TI_GET_IF: the handler runs with events masked
)

// inject raises an exception in the vCPU of shared.context, in its kernel. For a PV guest it does
// what Xen does without a debugger (create_bounce_frame, xen/arch/x86/x86_64/entry.S): it writes a
// frame on the stack and continues at the handler that the kernel has registered.
func (d *debug) inject(vector int) {
	if !d.g.pv {
		op := dmOp{vcpu: uint32(d.g.loaded), vector: uint8(vector), kind: dmHardware}
		if vector == vectorBP { // the vCPU is already behind the breakpoint
			op.kind, op.length = dmSoftware, 1
			d.g.setRIP(d.g.mem.context.regs.rip - 1)
		}
		d.g.raise(op)
		return
	}
	regs, trap := &d.g.mem.context.regs, d.g.mem.context.traps[vector]
	handler := trap[1]
	if handler == 0 || d.g.Upcall == 0 {
		d.g.check(givingBack, errors.New("the kernel has no handler for it yet, or the profile has no address of xen_vcpu_info"))
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
	d.g.setRIP(handler)
}

// put writes memory as the vCPU of shared.context sees it.
func (d *debug) put(addr uint64, b []byte) {
	frame, err := d.g.translate(d.g.mem.context.space(), addr)
	d.g.check(givingBack, err)
	d.g.write(frame, addr, b)
}
