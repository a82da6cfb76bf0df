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

// Trust is the set of trusted keys and denied digests.
type Trust struct {
	Keys   *trust.Store
	Denied map[string]bool // denied digests, as raw bytes
}

// pathGuess is longer than most paths.
const pathGuess = 128

// appraise answers ima_appraise_measurement(func, iint, file, filename, xattr_value, xattr_len,
// modsig). If the file has a signature, the function runs, and the verdict follows at
// integrity_digsig_verify. Every other file is denied here.
//
// IMA does not cache a result that is forced by a return: it asks again at the next access.
func (h *hit) appraise() error {
	e, p := h.e, h.e.config.Profile
	h.r.Func = funcName(p, uint32(h.regs.RDI))
	inode, path, xattr := span(h.regs.RDX+uint64(p.Offsets.FileInode), 8), inPage(h.regs.RCX, pathGuess), span(h.regs.R8, 1)
	if err := h.arguments(inode, path, xattr); err != nil {
		return err
	}
	h.r.Path, _ = h.text(path, "\x00") // for the audit only: an unreadable path stays empty
	if err := h.inForce(); err != nil {
		return err
	}
	if h.r.Func == profile.FuncPolicy { // if the kernel keeps the policy file after the first load
		return h.deny(errors.New("the policy is in force and takes no more rules"))
	}
	at, err := h.placeOf(inode)
	if err == nil && at.initial && e.saved.Phase < initramfsLeft {
		return h.forceReturn(Allow, uint64(p.Values.IntegrityPass), "file of the initramfs")
	}
	if err = cmp.Or(err, e.checkDevice(&at)); err != nil {
		return h.deny(err)
	}
	if h.r.Func == profile.FuncBprm && e.saved.Phase < initramfsLeft {
		if err := h.leaveInitramfs(&at); err != nil {
			return err
		}
	}
	if xattr.Addr == 0 || int32(h.regs.R9) <= 0 {
		return h.deny(errors.New("no security.ima signature"))
	}
	return h.judgeXattr(xattr)
}

// judgeXattr decides by the type of the file's security.ima value.
func (h *hit) judgeXattr(r *guest.Range) error {
	if r.Err != nil {
		return h.deny(fmt.Errorf("security.ima: %w", r.Err))
	}
	switch t := r.Buf[0]; {
	case t == digsig.TypeSignature, t == digsig.TypeVerity:
		h.e.addPending(r.Addr, h.r)
		return h.proceed(Pass, "")
	case t == digsig.TypeDigestNG && h.e.config.AllowDigest && h.r.Func == profile.FuncFile:
		return h.proceed(Allow, "security.ima holds a digest, and the file is only read: the kernel compares the digest")
	case t == digsig.TypeDigestNG, t == digsig.TypeDigest:
		return h.deny(errors.New("security.ima holds a digest, not a signature"))
	default:
		return h.deny(fmt.Errorf("security.ima has unknown type %d", t))
	}
}

const (
	keyringIMA = 1    // INTEGRITY_KEYRING_IMA (security/integrity/integrity.h)
	maxValue   = 2048 // more than any accepted key's signature needs
	maxDigest  = 64   // SHA-512

	// keyRejected is -EKEYREJECTED. With -EOPNOTSUPP or -ENOKEY the caller would try another way.
	keyRejected = ^uint64(129) + 1
)

// digsigVerify answers integrity_digsig_verify(id, sig, siglen, digest, digestlen). Since Linux 7.1
// the function has a sixth argument, algo.
func (h *hit) digsigVerify() error {
	keyring, sigLen, digestLen := uint32(h.regs.RDI), uint32(h.regs.RDX), uint32(h.regs.R8)
	file := h.e.pending[h.regs.RSI]
	h.r.Path, h.r.Func = file.Path, file.Func
	delete(h.e.pending, h.regs.RSI)
	sig, digest := span(h.regs.RSI, int(min(sigLen, maxValue))), span(h.regs.RCX, int(min(digestLen, maxDigest)))
	if err := h.arguments(sig, digest); err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	switch err := readError(sig, digest); {
	case keyring != keyringIMA:
		return h.forceReturn(Deny, keyRejected, fmt.Sprintf("keyring %d is not IMA's", keyring))
	case sigLen == 0 || sigLen > maxValue || digestLen == 0 || digestLen > maxDigest:
		return h.forceReturn(Deny, keyRejected, fmt.Sprintf("signature of %d bytes, digest of %d", int32(sigLen), int32(digestLen)))
	case err != nil:
		return h.forceReturn(Deny, keyRejected, err.Error())
	}
	start := time.Now()
	key, err := h.e.trust.Load().verify(sig.Buf, digest.Buf, h.e.config.Profile.Values.DigsigAlgo, digsig.Hash(h.regs.R9))
	h.verify, h.r.Key, h.r.Digest = time.Since(start), key, hex.EncodeToString(digest.Buf)
	if err != nil {
		return h.forceReturn(Deny, keyRejected, err.Error())
	}
	return h.forceReturn(Allow, 0, "")
}

// verify returns the key id in the signature, whatever the verdict, and an error unless the
// signature is good. If files is true, digest is the file's digest, computed with hash (Linux 7.1
// and later). Otherwise digest is what was signed.
func (t *Trust) verify(xattr, digest []byte, files bool, hash digsig.Hash) (key string, err error) {
	s, err := digsig.Parse(xattr)
	if err != nil {
		return "", err
	}
	signed := digest
	switch {
	case s.Version != 3:
	case files && hash == s.Hash:
		signed = s.FileID(digest)
	case files || s.Type != digsig.TypeVerity:
		return s.KeyID.String(), fmt.Errorf("signature of version 3, type %d and hash %d does not fit a digest of hash %d", s.Type, s.Hash, hash)
	}
	if _, err = t.Keys.Verify(s, signed); err == nil && (t.Denied[string(digest)] || t.Denied[string(signed)]) {
		err = errors.New("the digest is on the deny list")
	}
	return s.KeyID.String(), err
}

const vmExec = 0x4 // VM_EXEC (include/linux/mm.h)

const accessDenied = ^uint64(13) + 1 // -EACCES

// blockMmap answers blkdev_mmap(file, vma), and since Linux 6.17 blkdev_mmap_prepare(desc). IMA
// checks regular files only, so a program could be mapped executable from a raw block device
// without a check.
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
		return h.forceReturn(Deny, accessDenied, "a block device is mapped executable, or its mapping cannot be read")
	}
	return h.proceed(Pass, "")
}

// inForce records that the policy is in force, which this hit proves. It fails if the posture is
// not kept.
func (h *hit) inForce() error {
	switch err := h.posture.check(); {
	case err != nil:
		return err
	case !h.posture.inForce():
		return errors.New("no IMA policy with appraisal is in force in the guest")
	case h.e.saved.Phase < policyComplete:
		return errors.New("an IMA policy other than the pinned one is in force in the guest")
	case h.e.saved.Phase >= enforcing:
		return nil
	}
	base := span(h.e.config.Profile.Variables.PhysBase+h.e.saved.Slide, 8)
	if err := h.read(base); err != nil {
		return err
	}
	h.e.saved.PhysBase = value(base)
	if err := h.e.checkUnchanged(); err != nil {
		return err
	}
	return h.e.advance(enforcing)
}

// deny makes the kernel deny the access.
func (h *hit) deny(err error) error {
	return h.forceReturn(Deny, uint64(h.e.config.Profile.Values.IntegrityFail), err.Error())
}

func funcName(p *profile.Profile, n uint32) string {
	for name, value := range p.Values.Funcs {
		if value == n {
			return name
		}
	}
	return "unknown"
}

const maxPending = 64

// addPending remembers a file whose signature the kernel is about to verify, by the address of its
// security.ima value. The audit record needs it; the verdict does not. If there are too many files,
// addPending drops one: the kernel denies some of them itself and never asks for a verdict.
func (e *Enforcer) addPending(xattr uint64, file Record) {
	maps.DeleteFunc(e.pending, func(uint64, Record) bool { return len(e.pending) >= maxPending })
	e.pending[xattr] = file
}

// parseRule answers ima_parse_add_rule(rule): each rule must be the next rule of the pinned policy.
// Like the kernel, it reads the first line only and skips leading blanks.
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
		return h.proceed(Pass, "") // the kernel ignores the line
	case e.saved.Phase != booting:
		return fmt.Errorf("rule %q is loaded after the policy is complete", rule)
	case e.next == len(rules):
		return fmt.Errorf("rule %q is loaded after the last rule of the pinned policy", rule)
	case rule != rules[e.next]:
		return fmt.Errorf("rule %q is loaded, but rule %d of the pinned policy is %q", rule, e.next+1, rules[e.next])
	}
	e.next++
	return h.proceed(Pass, fmt.Sprintf("rule %d of the pinned policy", e.next))
}

// updatePolicy answers ima_update_policy(void), which puts the rules in force. It accepts a
// repeated call in phase policyComplete, because an earlier enforcer may have died after it
// recorded that phase and before it answered.
func (h *hit) updatePolicy() error {
	if err := h.arguments(); err != nil {
		return err
	}
	e, posture := h.e, h.posture.check()
	switch n := len(e.config.Profile.Policy); {
	case e.saved.Phase > policyComplete, h.posture.inForce():
		return errors.New("a second policy is put in force")
	case e.next != n:
		return fmt.Errorf("a policy is put in force after %d of the %d rules of the pinned policy", e.next, n)
	case posture != nil:
		return posture
	}
	if err := e.advance(policyComplete); err != nil {
		return err
	}
	return h.proceed(Pass, "the pinned policy is complete")
}

// bprmCheck answers security_bprm_check(bprm) until the policy is in force: without a policy, no
// other trap would ever be hit.
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
		return errors.New("a program outside the initramfs is executed, and no policy is in force")
	}
	return h.proceed(Pass, "")
}
