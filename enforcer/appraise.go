package enforcer

import (
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/profile"
)

const (
	pageSize = 4096
	likely   = 128 // a length that most paths do not have
)

// appraise answers ima_appraise_measurement(func, iint, file, filename,
// xattr_value, xattr_len, modsig). A file that has a signature goes on, and comes
// back at integrity_digsig_verify; every other is denied here.
//
// A forced return leaves nothing in IMA's cache of results: the next access asks
// again.
func (h *hit) appraise() error {
	e, regs := h.e, &h.stop.Regs
	h.r.Func = e.funcName(uint32(regs.RDI))
	r, err := h.read(
		number(regs.RDX+uint64(e.Profile.Offsets.FileInode), 8),
		guest.Range{Addr: regs.RCX, Buf: make([]byte, min(likely, pageSize-regs.RCX%pageSize))},
		number(regs.R8, 1),
	)
	if err != nil {
		return err
	}
	inode, name, label := r[0], r[1], r[2]
	h.r.Path = h.path(name)
	if err := h.inForce(); err != nil {
		return err
	}
	sb, err := h.superOf(inode)
	switch {
	case err != nil:
		return h.fail(err)
	case e.phase >= initramfsLeft:
	case sb.initial:
		return h.returns(Allow, uint64(e.Profile.Values.IntegrityPass), "of the initramfs")
	case h.r.Func == profile.FuncBprm:
		if err := e.advance(initramfsLeft); err != nil {
			return err
		}
	}
	if err := sb.check(e.Device); err != nil {
		return h.fail(err)
	}
	if label.Addr == 0 || int32(regs.R9) <= 0 {
		return h.fail(errors.New("no label"))
	}
	return h.label(label)
}

// label decides by the kind of the file's security.ima value.
func (h *hit) label(r guest.Range) error {
	if r.Err != nil {
		return h.fail(fmt.Errorf("label: %w", r.Err))
	}
	switch t := r.Buf[0]; {
	case t == digsig.TypeSignature, t == digsig.TypeVerity:
		h.e.await(r.Addr, awaited{h.r.Path, h.r.Func})
		return h.runsOn(Pass, "")
	case t == digsig.TypeDigestNG && h.e.AllowDigest && h.r.Func == profile.FuncFile:
		return h.runsOn(Allow, "digest only, for reading: the kernel compares it")
	case t == digsig.TypeDigestNG, t == digsig.TypeDigest:
		return h.fail(errors.New("label is a digest, not a signature"))
	default:
		return h.fail(fmt.Errorf("label of unknown type %d", t))
	}
}

const (
	vmExec       = 0x4             // VM_EXEC (include/linux/mm.h)
	accessDenied = ^uint64(13) + 1 // -EACCES
)

// blockMmap answers blkdev_mmap(file, vma). IMA looks at regular files only: a program
// that lies on a block device, as it is, could be mapped executable unasked.
func (h *hit) blockMmap() error {
	r, err := h.read(number(h.stop.Regs.RSI+uint64(h.e.Profile.Offsets.AreaFlags), 8))
	if err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	switch flags := r[0]; {
	case flags.Err != nil:
		return h.returns(Deny, accessDenied, "mapping cannot be read: "+flags.Err.Error())
	case value(flags)&vmExec != 0:
		return h.returns(Deny, accessDenied, "a block device is mapped executable")
	}
	return h.runsOn(Pass, "")
}

// inForce notes that the policy is in force, which this hit proves, and that
// signatures are to be verified from now on.
func (h *hit) inForce() error {
	if err := h.posture.check(); err != nil {
		return err
	}
	switch {
	case !h.posture.inForce():
		return errPolicyOff
	case h.e.phase < policyComplete:
		return errForeignPolicy
	case h.e.phase >= enforcing:
		return nil
	}
	if err := h.e.advance(enforcing); err != nil {
		return err
	}
	return h.e.plant()
}

// fail makes the kernel deny the access.
func (h *hit) fail(err error) error {
	return h.returns(Deny, uint64(h.e.Profile.Values.IntegrityFail), err.Error())
}

func (e *Enforcer) funcName(n uint32) string {
	for name, value := range e.Profile.Values.Funcs {
		if value == n {
			return name
		}
	}
	return "unknown"
}

// path reads the rest of a path that is longer than most. It serves people only: a
// path that cannot be read is none.
func (h *hit) path(start guest.Range) string {
	if start.Err != nil {
		return ""
	}
	text, err := h.text(start.Addr, start.Buf, "\x00")
	if err != nil {
		return ""
	}
	return string(text)
}

// An awaited file has a signature that the kernel is about to have verified.
type awaited struct{ path, fn string }

const maxAwaited = 64

// await remembers, by the address of its label, a file whose signature comes next. It is
// for the record alone. Of those whose turn never comes one is forgotten when there are
// too many.
func (e *Enforcer) await(label uint64, file awaited) {
	for other := range e.awaited {
		if len(e.awaited) >= maxAwaited {
			delete(e.awaited, other)
		}
	}
	e.awaited[label] = file
}
