package enforcer

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys/trust"
)

// Trust is whose signatures count, and which files count no more.
type Trust struct {
	Keys   *trust.Store
	Denied map[string]bool // digests that were signed, as bytes
}

// likely is a length that most paths do not have.
const likely = 128

// appraise answers ima_appraise_measurement(func, iint, file, filename,
// xattr_value, xattr_len, modsig). A file that has a signature goes on, and comes
// back at integrity_digsig_verify; every other is denied here.
//
// A forced return leaves nothing in IMA's cache of results: the next access asks
// again.
func (h *hit) appraise() error {
	e, p := h.e, h.e.config.Profile
	h.r.Func = funcName(p, uint32(h.regs.RDI))
	inode, path, label := span(h.regs.RDX+uint64(p.Offsets.FileInode), 8), inPage(h.regs.RCX, likely), span(h.regs.R8, 1)
	if err := h.arguments(inode, path, label); err != nil {
		return err
	}
	h.r.Path, _ = h.text(path, "\x00") // for people: one that cannot be read is none
	if err := h.inForce(); err != nil {
		return err
	}
	if h.r.Func == profile.FuncPolicy { // in a kernel that keeps the policy's file
		return h.fail(errors.New("a policy is in force, and takes no more rules"))
	}
	at, err := h.placeOf(inode)
	if err == nil && at.initial && e.saved.Phase < initramfsLeft {
		return h.returns(Allow, uint64(p.Values.IntegrityPass), "of the initramfs")
	}
	if err = cmp.Or(err, e.allowed(&at)); err != nil {
		return h.fail(err)
	}
	if h.r.Func == profile.FuncBprm && e.saved.Phase < initramfsLeft {
		if err := h.leaveInitramfs(&at); err != nil {
			return err
		}
	}
	if label.Addr == 0 || int32(h.regs.R9) <= 0 {
		return h.fail(errors.New("no label"))
	}
	return h.label(label)
}

// label decides by the kind of the file's security.ima value.
func (h *hit) label(r *guest.Range) error {
	if r.Err != nil {
		return h.fail(fmt.Errorf("label: %w", r.Err))
	}
	switch t := r.Buf[0]; {
	case t == digsig.TypeSignature, t == digsig.TypeVerity:
		h.e.await(r.Addr, h.r)
		return h.runsOn(Pass, "")
	case t == digsig.TypeDigestNG && h.e.config.AllowDigest && h.r.Func == profile.FuncFile:
		return h.runsOn(Allow, "digest only, for reading: the kernel compares it")
	case t == digsig.TypeDigestNG, t == digsig.TypeDigest:
		return h.fail(errors.New("label is a digest, not a signature"))
	default:
		return h.fail(fmt.Errorf("label of unknown type %d", t))
	}
}

const (
	keyringIMA = 1    // INTEGRITY_KEYRING_IMA (security/integrity/integrity.h)
	maxValue   = 2048 // beyond every signature of a key that keys accepts
	maxDigest  = 64   // of SHA-512

	// keyRejected is -EKEYREJECTED. Not every number would do: with -EOPNOTSUPP or
	// -ENOKEY the caller tries another way.
	keyRejected = ^uint64(129) + 1
)

// digsigVerify answers integrity_digsig_verify(id, sig, siglen, digest, digestlen), and from 7.1 on
// integrity_digsig_verify(id, sig, siglen, digest, digestlen, algo).
func (h *hit) digsigVerify() error {
	keyring, sigLen, digestLen := uint32(h.regs.RDI), uint32(h.regs.RDX), uint32(h.regs.R8)
	file := h.e.awaited[h.regs.RSI]
	h.r.Path, h.r.Func = file.Path, file.Func
	delete(h.e.awaited, h.regs.RSI)
	sig, digest := span(h.regs.RSI, int(min(sigLen, maxValue))), span(h.regs.RCX, int(min(digestLen, maxDigest)))
	if err := h.arguments(sig, digest); err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	switch err := unread(sig, digest); {
	case keyring != keyringIMA:
		return h.returns(Deny, keyRejected, fmt.Sprintf("keyring %d is not that of IMA", keyring))
	case sigLen == 0 || sigLen > maxValue || digestLen == 0 || digestLen > maxDigest:
		return h.returns(Deny, keyRejected, fmt.Sprintf("signature of %d bytes, digest of %d", int32(sigLen), int32(digestLen)))
	case err != nil:
		return h.returns(Deny, keyRejected, err.Error())
	}
	start := time.Now()
	key, err := h.e.trust.Load().verify(sig.Buf, digest.Buf, h.e.config.Profile.Values.DigsigAlgo, digsig.Hash(h.regs.R9))
	h.verify, h.r.Key, h.r.Digest = time.Since(start), key, hex.EncodeToString(digest.Buf)
	if err != nil {
		return h.returns(Deny, keyRejected, err.Error())
	}
	return h.returns(Allow, 0, "")
}

// verify names the key that the label names, if it is a signature, whatever the verdict. The digest is the file's, by
// the hash; or of an older kernel, and for version 3, the one that is signed.
func (t *Trust) verify(label, digest []byte, files bool, hash digsig.Hash) (key string, err error) {
	s, err := digsig.Parse(label)
	if err != nil {
		return "", err
	}
	signed := digest
	switch {
	case s.Version != 3:
	case files && hash == s.Hash:
		signed = s.FileID(digest)
	case files || s.Type != digsig.TypeVerity:
		return s.KeyID.String(), fmt.Errorf("signature of version 3, type %d and hash %d, with a digest by %d", s.Type, s.Hash, hash)
	}
	if _, err = t.Keys.Verify(s, signed); err == nil && (t.Denied[string(digest)] || t.Denied[string(signed)]) {
		err = errors.New("digest is on the deny list")
	}
	return s.KeyID.String(), err
}

const vmExec = 0x4 // VM_EXEC (include/linux/mm.h)

const accessDenied = ^uint64(13) + 1 // -EACCES

// blockMmap answers blkdev_mmap(file, vma), from 6.17 on blkdev_mmap_prepare(desc). IMA looks at regular files only: a program
// that lies on a block device, as it is, could be mapped executable unasked.
func (h *hit) blockMmap() error {
	p := h.e.config.Profile
	flags := span([]uint64{h.regs.RDI, h.regs.RSI}[p.Values.AreaArgument]+uint64(p.Offsets.AreaFlags), 8)
	if err := h.arguments(flags); err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	if flags.Err != nil || value(flags)&vmExec != 0 {
		return h.returns(Deny, accessDenied, "a block device is mapped executable, or how cannot be read")
	}
	return h.runsOn(Pass, "")
}

// inForce notes that the policy is in force, which this hit proves, and that
// signatures are to be verified from now on.
func (h *hit) inForce() error {
	switch err := h.posture.check(); {
	case err != nil:
		return err
	case !h.posture.inForce():
		return errors.New("no IMA policy with appraisal is in force in the guest")
	case h.e.saved.Phase < policyComplete:
		return errors.New("another IMA policy than the pinned one is in force in the guest")
	case h.e.saved.Phase >= enforcing:
		return nil
	}
	base := span(h.e.config.Profile.Variables.PhysBase+h.e.saved.Slide, 8)
	if err := h.read(base); err != nil {
		return err
	}
	h.e.saved.PhysBase = value(base)
	if err := h.e.look(); err != nil {
		return err
	}
	return h.e.advance(enforcing)
}

// fail makes the kernel deny the access.
func (h *hit) fail(err error) error {
	return h.returns(Deny, uint64(h.e.config.Profile.Values.IntegrityFail), err.Error())
}

func funcName(p *profile.Profile, n uint32) string {
	for name, value := range p.Values.Funcs {
		if value == n {
			return name
		}
	}
	return "unknown"
}

const maxAwaited = 64

// await remembers, by the address of its label, a file whose signature the kernel is about
// to have verified. It is for the record alone. Of those whose turn never comes one is forgotten
// when there are too many.
func (e *Enforcer) await(label uint64, file Record) {
	maps.DeleteFunc(e.awaited, func(uint64, Record) bool { return len(e.awaited) >= maxAwaited })
	e.awaited[label] = file
}

// parseRule answers ima_parse_add_rule(rule): each rule must be the next one of
// the pinned policy. The kernel looks at the first line of what it was given, without
// leading blanks.
func (h *hit) parseRule() error {
	if err := h.arguments(); err != nil {
		return err
	}
	rule, err := h.text(span(h.regs.RDI, 0), "\n\x00")
	e, rule := h.e, strings.TrimLeft(rule, " \t")
	switch rules := e.config.Profile.Policy; {
	case err != nil:
		return fmt.Errorf("rule: %w", err)
	case rule == "" || rule[0] == '#':
		return h.runsOn(Pass, "") // the kernel skips it
	case e.saved.Phase != booting:
		return fmt.Errorf("rule %q is loaded when the policy is complete", rule)
	case e.next == len(rules):
		return fmt.Errorf("rule %q is one more than the pinned policy has", rule)
	case rule != rules[e.next]:
		return fmt.Errorf("rule %q is loaded, rule %d of the pinned policy is %q", rule, e.next+1, rules[e.next])
	}
	e.next++
	return h.runsOn(Pass, fmt.Sprintf("rule %d of the pinned policy", e.next))
}

// updatePolicy answers ima_update_policy(void), by which the rules come into force.
// A predecessor may have died between noting that and answering.
func (h *hit) updatePolicy() error {
	if err := h.arguments(); err != nil {
		return err
	}
	e, posture := h.e, h.posture.check()
	switch n := len(e.config.Profile.Policy); {
	case e.saved.Phase > policyComplete, h.posture.inForce():
		return errors.New("a second policy is put in force")
	case e.next != n:
		return fmt.Errorf("a policy is put in force after %d of the %d rules of the pinned one", e.next, n)
	case posture != nil:
		return posture
	}
	if err := e.advance(policyComplete); err != nil {
		return err
	}
	return h.runsOn(Pass, "the pinned policy is complete")
}

// bprmCheck answers security_bprm_check(bprm), which is watched until the policy is in
// force: without one, nothing else would ever be hit.
func (h *hit) bprmCheck() error {
	o := &h.e.config.Profile.Offsets
	file := span(h.regs.RDI+uint64(o.BinprmFile), 8)
	if err := cmp.Or(h.arguments(file), file.Err); err != nil {
		return err
	}
	inode := span(value(file)+uint64(o.FileInode), 8)
	if err := h.read(inode); err != nil {
		return err
	}
	at, err := h.placeOf(inode)
	if err != nil {
		return err
	}
	if !at.initial && (h.e.saved.Phase < policyComplete || !h.posture.inForce()) {
		return errors.New("a program from outside the initramfs is executed, and no policy is in force")
	}
	return h.runsOn(Pass, "")
}
