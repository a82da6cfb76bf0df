package xen

import (
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Layout of struct vcpu_guest_context and, in it, of struct cpu_user_regs
// (xen/include/public/arch-x86/xen.h, xen-x86_64.h).
const (
	contextSize    = 5168
	contextFlags   = 512
	contextTraps   = 720 // struct trap_info[256]
	contextControl = 4984
	contextDebug   = 5048
	contextGSBase  = 5152 // gs_base_kernel

	inKernel = 1 << 2 // VGCF_in_kernel, of PV guests

	contextRegs = 520
	regR11      = contextRegs + 48
	regRAX      = contextRegs + 80
	regRCX      = contextRegs + 88
	regRIP      = contextRegs + 128
	regCS       = contextRegs + 136
	regRFLAGS   = contextRegs + 144
	regRSP      = contextRegs + 152
	regSS       = contextRegs + 160
)

// What the selectors of PV guests, whose kernels run at the processor's level 3 as
// well, are called here: what a kernel without Xen would have.
const kernelCS, userCS = 0x10, 0x33

// context is the state of a virtual CPU, in the buffer for hypercalls: that of the last
// call of getContext.
func (h *hypervisor) context() []byte { return h.buf[atContext : atContext+contextSize] }

func (h *hypervisor) getContext(domain uint16, vcpu int) error {
	return h.moveContext(domain, domctlGetContext, vcpu)
}

// setContext changes the state of a paused virtual CPU to what context holds. Xen would
// reset the extended part, of which context has nothing, to that of a CPU without AVX:
// it is carried around the call.
func (h *hypervisor) setContext(domain uint16, vcpu int) error {
	size, err := h.getXstate(domain, vcpu)
	if err != nil {
		return fmt.Errorf("reading the extended state of virtual CPU %d: %w", vcpu, err)
	}
	if err := h.moveContext(domain, domctlSetContext, vcpu); err != nil {
		return err
	}
	if _, err := h.moveXstate(domain, domctlSetXstate, vcpu, size); err != nil {
		return fmt.Errorf("writing the extended state of virtual CPU %d: %w", vcpu, err)
	}
	return nil
}

// moveContext fills struct xen_domctl_vcpucontext.
func (h *hypervisor) moveContext(domain uint16, cmd uint32, vcpu int) error {
	le.PutUint64(h.union()[8:], h.addr(atContext))
	if err := h.domctl(domain, cmd, uint32(vcpu), 0); err != nil {
		return fmt.Errorf("state of virtual CPU %d: %w", vcpu, err)
	}
	return nil
}

// getXstate gets the extended state, and says how much that is. The most that it can be is the
// same for every virtual CPU: asked for no bytes, Xen tells that, and gives nothing.
func (h *hypervisor) getXstate(domain uint16, vcpu int) (size uint64, err error) {
	if h.maxXstate == 0 {
		if h.maxXstate, err = h.moveXstate(domain, domctlGetXstate, vcpu, 0); err != nil {
			return 0, err
		}
		h.xfeatures = le.Uint64(h.union()[8:])
	}
	if h.maxXstate > sizeXstate {
		return 0, fmt.Errorf("it may have %d bytes", h.maxXstate)
	}
	return h.moveXstate(domain, domctlGetXstate, vcpu, h.maxXstate)
}

// moveXstate fills struct xen_domctl_vcpuextstate, and gives the size that Xen has put there.
func (h *hypervisor) moveXstate(domain uint16, cmd uint32, vcpu int, size uint64) (uint64, error) {
	u := h.union()
	le.PutUint64(u[8:], h.xfeatures)
	le.PutUint64(u[16:], size)
	le.PutUint64(u[24:], h.addr(atXstate))
	err := h.domctl(domain, cmd, uint32(vcpu), 0)
	return le.Uint64(u[16:]), err
}

func (h *hypervisor) reg(at int) uint64       { return le.Uint64(h.context()[at:]) }
func (h *hypervisor) setReg(at int, v uint64) { le.PutUint64(h.context()[at:], v) }

// control is a control register: of a PV guest, 1 is the page table of user space.
func (h *hypervisor) control(n int) uint64 { return h.reg(contextControl + 8*n) }

// registers decodes the context.
func (h *hypervisor) registers(pv bool) (r guest.Registers) {
	for i, to := range []*uint64{
		&r.R15, &r.R14, &r.R13, &r.R12, &r.RBP, &r.RBX, &r.R11, &r.R10, &r.R9, &r.R8, &r.RAX, &r.RCX, &r.RDX, &r.RSI, &r.RDI,
	} {
		*to = h.reg(contextRegs + 8*i)
	}
	r.RIP, r.RFLAGS, r.RSP = h.reg(regRIP), h.reg(regRFLAGS), h.reg(regRSP)
	r.CS = le.Uint16(h.context()[regCS:])
	if pv {
		r.CS = userCS
		if h.reg(contextFlags)&inKernel != 0 {
			r.CS = kernelCS
		}
	}
	return r
}
