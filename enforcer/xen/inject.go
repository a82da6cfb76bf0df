package xen

import (
	"errors"
	"fmt"
)

// Flags of the processor that an exception clears.
const flagsCleared = 1<<8 | 1<<14 | 1<<16 | 1<<17 | 1<<18 // TF, NT, RF, VM, AC

const (
	flagIF = 1 << 9

	flatKernelCS, flatKernelSS = 0xe033, 0xe02b // FLAT_KERNEL_CS and _SS

	maskOffset = 1 // of evtchn_upcall_mask in struct vcpu_info
	maskEvents = 4 // TI_GET_IF: the handler runs with events masked
)

// inject gives an exception to a PV guest whose kernel had it, as Xen itself does if no
// debugger is attached (create_bounce_frame, xen/arch/x86/x86_64/entry.S): a frame on
// the stack, and on to the handler that the kernel has registered.
func (d *debug) inject(vcpu, vector int) error {
	if !d.g.pv {
		return d.g.h.injectEvent(d.g.domain, vcpu, vector, dmSoftware, 1, 0) // at int3: Xen gives no other of these guests
	}
	h := d.g.h
	if err := h.getContext(d.g.domain, vcpu); err != nil {
		return err
	}
	trap := h.context()[contextTraps+16*vector:]
	handler := le.Uint64(trap[8:])
	if handler == 0 {
		return fmt.Errorf("exception %d in a kernel that has no handler for it yet", vector)
	}
	if d.g.Upcall == 0 {
		return errors.New("an exception cannot be given back to the guest: the profile does not say where its xen_vcpu_info is")
	}
	s := d.g.contextSpace()
	var masked [1]byte
	at := h.reg(contextGSBase) + d.g.Upcall + maskOffset
	if err := d.g.m.move(s, at, masked[:], false); err != nil {
		return err
	}
	flags := h.reg(regRFLAGS) &^ flagIF
	if masked[0] == 0 {
		flags |= flagIF
	}
	frame := make([]byte, 7*8)
	for i, v := range []uint64{
		h.reg(regRCX), h.reg(regR11), h.reg(regRIP), uint64(masked[0])<<32 | h.reg(regCS)&0xfffc, flags, h.reg(regRSP), h.reg(regSS) & 0xffff,
	} {
		le.PutUint64(frame[8*i:], v)
	}
	stack := h.reg(regRSP)&^15 - uint64(len(frame))
	if err := d.g.m.move(s, stack, frame, true); err != nil {
		return err
	}
	if trap[1]&maskEvents != 0 {
		masked[0] = 1
		if err := d.g.m.move(s, at, masked[:], true); err != nil {
			return err
		}
	}
	h.setReg(regRFLAGS, h.reg(regRFLAGS)&^flagsCleared)
	h.setReg(regSS, flatKernelSS)
	h.setReg(regRSP, stack)
	h.setReg(regCS, flatKernelCS)
	return d.goTo(vcpu, handler)
}

// Layout of struct xen_dm_op, with the struct xen_dm_op_inject_event in it
// (xen/include/public/hvm/dm_op.h).
const (
	dmOpInject = 13
	dmOpSize   = 32
	dmNoError  = 0xffffffff
	dmSoftware = 6 // XEN_DMOP_EVENT_sw_exc
)

// injectEvent gives a guest that is not PV an exception (XEN_DMOP_inject_event), as if
// the processor had raised it.
func (h *hypervisor) injectEvent(domain uint16, vcpu, vector int, kind, length byte, pending uint64) error {
	b := h.buf[atData : atData+64+dmOpSize]
	clear(b)
	op := b[64:]
	le.PutUint32(op, dmOpInject)
	le.PutUint32(op[8:], uint32(vcpu))
	op[12], op[13], op[14] = byte(vector), kind, length
	le.PutUint32(op[16:], dmNoError)
	le.PutUint64(op[24:], pending)
	le.PutUint64(b, h.addr(atData+64)) // struct xen_dm_op_buf
	le.PutUint64(b[8:], dmOpSize)
	if _, err := h.call(hypercallDM, uint64(domain), 1, h.addr(atData)); err != nil {
		return fmt.Errorf("giving exception %d back to virtual CPU %d: %w", vector, vcpu, err)
	}
	return nil
}
