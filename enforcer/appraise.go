package enforcer

import (
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
	fn, value, length := uint32(regs.RDI), regs.R8, int32(regs.R9)
	h.r.Func = e.funcName(fn)

	ranges, err := h.read(
		pointer(regs.RDX+uint64(e.Profile.Offsets.FileInode)),
		guest.Range{Addr: regs.RCX, Buf: make([]byte, min(likely, pageSize-regs.RCX%pageSize))},
		guest.Range{Addr: value, Buf: make([]byte, 1)},
	)
	if err != nil {
		return err
	}
	inode, name, first := ranges[0], ranges[1], ranges[2]
	h.r.Path = h.path(name)
	if err := h.inForce(); err != nil {
		return err
	}
	if inode.Err != nil {
		return h.fail("inode cannot be read: " + inode.Err.Error())
	}
	sb, err := h.superOf(word(inode))
	if err != nil {
		return h.fail(err.Error())
	}
	if sb.initial && e.phase < initramfsLeft {
		h.returns(Allow, uint64(e.Profile.Values.IntegrityPass), "of the initramfs")
		return nil
	}
	if !sb.initial && e.phase < initramfsLeft && h.r.Func == profile.FuncBprm {
		if err := e.advance(initramfsLeft); err != nil {
			return err
		}
	}
	if err := sb.check(e.Device); err != nil {
		return h.fail(err.Error())
	}
	return h.label(first, value, length)
}

// label decides by the kind of the file's security.ima value.
func (h *hit) label(first guest.Range, value uint64, length int32) error {
	switch {
	case value == 0 || length <= 0:
		return h.fail("no label")
	case first.Err != nil:
		return h.fail("label cannot be read: " + first.Err.Error())
	}
	switch t := first.Buf[0]; t {
	case digsig.TypeSignature, digsig.TypeVerity:
		h.e.await(value, awaited{h.r.Path, h.r.Func})
		h.pass()
		return nil
	case digsig.TypeDigestNG, digsig.TypeDigest:
		if t == digsig.TypeDigestNG && h.e.AllowDigest && h.r.Func == profile.FuncFile {
			h.pass()
			h.r.Verdict, h.r.Reason = Allow, "digest only, for reading: the kernel compares it"
			return nil
		}
		return h.fail("label is a digest, not a signature")
	default:
		return h.fail(fmt.Sprintf("label of unknown type %d", t))
	}
}

const (
	vmExec       = 0x4             // VM_EXEC (include/linux/mm.h)
	accessDenied = ^uint64(13) + 1 // -EACCES
)

// blockMmap answers blkdev_mmap(file, vma). IMA looks at regular files only: a program
// that lies on a block device, as it is, could be mapped executable unasked.
func (h *hit) blockMmap() error {
	r, err := h.read(pointer(h.stop.Regs.RSI + uint64(h.e.Profile.Offsets.AreaFlags)))
	if err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	switch {
	case r[0].Err != nil:
		h.returns(Deny, accessDenied, "mapping cannot be read: "+r[0].Err.Error())
	case word(r[0])&vmExec != 0:
		h.returns(Deny, accessDenied, "a block device is mapped executable")
	default:
		h.pass()
	}
	return nil
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
func (h *hit) fail(reason string) error {
	h.returns(Deny, uint64(h.e.Profile.Values.IntegrityFail), reason)
	return nil
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
