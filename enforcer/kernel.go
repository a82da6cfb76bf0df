package enforcer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/bits"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// checkKernel compares the kernel in memory with the one of the profile, once: its banner,
// and what lies at the entries of the functions, which is as in the profile once the kernel
// has set its tracing up, long before user space. A guest that was taken over may trace them.
func (e *Enforcer) checkKernel(m *memory) error {
	if e.checked {
		return nil
	}
	p := e.config.Profile
	ranges := []*guest.Range{span(p.Variables.Banner+e.saved.Slide, len(p.Banner))}
	for _, at := range points {
		ranges = append(ranges, span(e.address(at), profile.HookSize))
	}
	if err := m.read(ranges...); err != nil {
		return fmt.Errorf("the kernel: %w", err)
	}
	if got := string(ranges[0].Buf); got != p.Banner {
		return fmt.Errorf("the kernel says %q, the profile is of %q", got, p.Banner)
	}
	for i, at := range points {
		if got, want := ranges[i+1].Buf, p.Hooks[at.function].Bytes; !e.adopted && !bytes.Equal(got, want) {
			return fmt.Errorf("at the entry of %s lies % x, the profile has % x", at.function, got, []byte(want))
		}
	}
	e.checked = true
	return nil
}

// checkEarly wants a kernel that has not come to user space yet.
func (e *Enforcer) checkEarly(m *memory) error {
	state := span(e.config.Profile.Variables.SystemState+e.saved.Slide, 4)
	if err := m.read(state); err != nil {
		return fmt.Errorf("the state of the kernel: %w", err)
	}
	if n := value(state); n >= uint64(e.config.Profile.Values.SystemRunning) {
		return fmt.Errorf("the kernel was found too late: user space may have run (system_state is %d)", n)
	}
	return nil
}

// checkCPUs wants traps in every virtual CPU that the kernel will ever use, or to be asked before it starts one: what it has
// set up for when it started is all that can be plugged in.
func (e *Enforcer) checkCPUs(m *memory) error {
	mask := span(e.config.Profile.Variables.PossibleCPUs+e.saved.Slide, int(e.config.Profile.Values.CPUMask))
	if err := m.read(mask); err != nil {
		return fmt.Errorf("the kernel's virtual CPUs: %w", err)
	}
	possible, trapped := 0, e.config.Guest.Trapped()
	for _, b := range mask.Buf {
		possible += bits.OnesCount8(b)
	}
	if trapped == 0 || possible <= trapped { // 0: traps that lie in the guest's memory are those of every virtual CPU
		return nil
	}
	e.saved.Room = true
	if err := e.plant(); err != nil {
		return fmt.Errorf("the kernel can use %d virtual CPUs, only the %d that are there now have traps, and there is no trap left to notice others by (%w). "+
			"Give QEMU -smp %d without more maxcpus, or -smp %d, or the kernel nr_cpus=%d", possible, trapped, err, trapped, possible, trapped)
	}
	e.config.Event(fmt.Sprintf("the kernel can use %d virtual CPUs and only %d are there: the guest will freeze when another one is started", possible, trapped))
	return nil
}

// startCPU is idle_thread_get(cpu), before a virtual CPU is started. It is one of those that there were, or the stop would
// have failed. It may have been unplugged and plugged in again since the last one, and lost its traps.
func (h *hit) startCPU() error {
	if err := cmp.Or(h.arguments(), h.e.config.Guest.Plant(nil), h.e.plant()); err != nil {
		return err
	}
	return h.runsOn(Pass, "")
}

// Bits of ima_appraise and ima_policy_flag (security/integrity/ima/ima.h).
const (
	appraiseEnforce = 0x01 // IMA_APPRAISE_ENFORCE
	appraiseFix     = 0x02 // IMA_APPRAISE_FIX
	appraiseLog     = 0x04 // IMA_APPRAISE_LOG
	policyAppraise  = 0x04 // IMA_APPRAISE in ima_policy_flag
)

// posture is what the guest must keep: its own enforcement on, no other kernel to be
// started, and the kernel locked down. Its variables are read with each hit and each heartbeat.
type posture struct{ appraise, policyFlag, kexecLoadDisabled, lockedDown uint64 }

// variables are those of the posture, to be read. The kernel of a profile without lockdown has no such variable, and another
// one is read in its place: lockedDown does not ask for it.
func (e *Enforcer) variables() (ranges []*guest.Range) {
	v := &e.config.Profile.Variables
	for _, addr := range []uint64{v.Appraise, v.PolicyFlag, v.KexecLoadDisabled, cmp.Or(v.LockedDown, v.Appraise)} {
		ranges = append(ranges, span(addr+e.saved.Slide, 4))
	}
	return ranges
}

func postureOf(r []*guest.Range) posture {
	return posture{value(r[0]), value(r[1]), value(r[2]), value(r[3])}
}

// lockedDown wants what keeps root out of the kernel: without it nothing of the guest's can be relied on.
func (e *Enforcer) lockedDown(p posture) error {
	if want := uint64(e.config.Profile.Values.LockIntegrity); !e.config.NoLockdown && (want == 0 || p.lockedDown < want) {
		return errors.New("the guest's kernel is not locked down: give it lockdown=integrity on its command line, or say --no-lockdown and do without")
	}
	return nil
}

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
