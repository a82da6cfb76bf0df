package enforcer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// nopSize is the length of the nop at a traced function's entry
// (x86_nops[5], arch/x86/include/asm/nops.h).
const nopSize = 5

// moved gives where the traps of the running kernel lie.
func (e *Enforcer) moved(hooks ...profile.Hook) (addrs []uint64) {
	for _, h := range hooks {
		addrs = append(addrs, h.Address+e.slide)
	}
	return addrs
}

// hookName is the name of the function that the trap at an address belongs to.
func (e *Enforcer) hookName(addr uint64) string {
	for _, h := range e.Profile.Hooks.All() {
		if h.Address+e.slide == addr {
			return h.Name
		}
	}
	return fmt.Sprintf("%#x", addr)
}

// checkBanner compares the kernel in memory with the one of the profile.
func (e *Enforcer) checkBanner(vcpu int) error {
	got := make([]byte, len(e.Profile.Banner))
	if err := e.read(vcpu, guest.Range{Addr: e.Profile.Variables.Banner + e.slide, Buf: got}); err != nil {
		return fmt.Errorf("reading the kernel's banner: %w", err)
	}
	if string(got) != e.Profile.Banner {
		return fmt.Errorf("the kernel says %q, the profile is of %q", got, e.Profile.Banner)
	}
	return nil
}

// checkKernel compares also what lies at the entries of the functions, which is as
// in the profile once the kernel has set its tracing up, long before user space.
func (e *Enforcer) checkKernel(vcpu int) error {
	if err := e.checkBanner(vcpu); err != nil {
		return err
	}
	hooks := e.Profile.Hooks.All()
	ranges := make([]guest.Range, len(hooks))
	for i, h := range hooks {
		ranges[i] = guest.Range{Addr: h.Address + e.slide, Buf: make([]byte, nopSize)}
	}
	if err := e.read(vcpu, ranges...); err != nil {
		return fmt.Errorf("reading the entries of the kernel's functions: %w", err)
	}
	for i, r := range ranges {
		if !bytes.Equal(r.Buf, hooks[i].Bytes) {
			return fmt.Errorf("at the entry of %s lies % x, the profile has % x", hooks[i].Name, r.Buf, []byte(hooks[i].Bytes))
		}
	}
	return nil
}

// Bits of ima_appraise and ima_policy_flag (security/integrity/ima/ima.h).
const (
	appraiseEnforce = 0x01 // IMA_APPRAISE_ENFORCE
	appraiseFix     = 0x02 // IMA_APPRAISE_FIX
	appraiseLog     = 0x04 // IMA_APPRAISE_LOG
	policyAppraise  = 0x04 // IMA_APPRAISE in ima_policy_flag
)

// posture is what the guest must keep: its own enforcement on, and no other
// kernel to be started. Its three variables are read with each hit.
type posture struct{ appraise, policyFlag, kexecLoadDisabled uint64 }

// inForce reports whether a policy with appraisal is.
func (p posture) inForce() bool { return p.policyFlag&policyAppraise != 0 }

// check wants the state that holds from the moment at which the policy is complete;
// whether it is in force already is for the caller.
func (p posture) check() error {
	switch mode := p.appraise; {
	case mode&appraiseEnforce == 0 || mode&(appraiseFix|appraiseLog) != 0:
		return fmt.Errorf("the guest's IMA does not enforce (ima_appraise is %#x)", mode)
	case p.kexecLoadDisabled != 1:
		return errors.New("the guest may start another kernel (kexec_load_disabled is not 1)")
	}
	return nil
}
