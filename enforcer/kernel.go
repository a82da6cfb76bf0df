package enforcer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// checkKernel compares the kernel in memory with the profile, once. It compares the banner and the
// code at the entries of the trapped functions. The entries have their final form once the kernel
// has set up tracing, long before user space runs. After a take-over only the banner is compared,
// because the guest may trace the functions by then.
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
		return fmt.Errorf("reading the kernel: %w", err)
	}
	if got := string(ranges[0].Buf); got != p.Banner {
		return fmt.Errorf("the kernel's banner is %q, but the profile is for %q", got, p.Banner)
	}
	for i, at := range points {
		if got, want := ranges[i+1].Buf, p.Hooks[at.function].Bytes; !e.adopted && !bytes.Equal(got, want) {
			return fmt.Errorf("the entry of %s holds % x, but the profile has % x", at.function, got, []byte(want))
		}
	}
	e.checked = true
	return nil
}

// checkEarly returns an error if the kernel may already have started user space.
func (e *Enforcer) checkEarly(m *memory) error {
	state := span(e.config.Profile.Variables.SystemState+e.saved.Slide, 4)
	if err := m.read(state); err != nil {
		return fmt.Errorf("reading the kernel's state: %w", err)
	}
	if n := value(state); n >= uint64(e.config.Profile.Values.SystemRunning) {
		return fmt.Errorf("the kernel was found too late: user space may have run (system_state is %d)", n)
	}
	return nil
}

// checkCPUs makes sure that the guest cannot run on a vCPU without traps. The kernel's mask of
// possible CPUs is fixed at boot and bounds what can be plugged in. If it allows more vCPUs than
// have traps, checkCPUs sets one more trap, which is hit before the kernel starts a vCPU.
func (e *Enforcer) checkCPUs(m *memory) error {
	mask := span(e.config.Profile.Variables.PossibleCPUs+e.saved.Slide, int(e.config.Profile.Values.CPUMask))
	if err := m.read(mask); err != nil {
		return fmt.Errorf("reading the kernel's mask of possible CPUs: %w", err)
	}
	possible, trapped := 0, e.config.Guest.Trapped()
	for _, b := range mask.Buf {
		possible += bits.OnesCount8(b)
	}
	if trapped == 0 || possible <= trapped { // 0: traps in the guest's memory work for all vCPUs
		return nil
	}
	e.saved.Hotplug = true
	if err := e.plant(); err != nil {
		return fmt.Errorf("the kernel can use %d vCPUs, but only %d are present and have traps, and no trap is left to notice that another one is started (%w). "+
			"Start QEMU with -smp %d and no higher maxcpus, or with -smp %d, or give the kernel nr_cpus=%d", possible, trapped, err, trapped, possible, trapped)
	}
	e.config.Event(fmt.Sprintf("the kernel can use %d vCPUs, but only %d are present: the guest will freeze when another one is started", possible, trapped))
	return nil
}

// startCPU answers idle_thread_get(cpu), which the kernel calls before it starts a vCPU. The set of
// vCPUs has not changed, or the stop would have failed. But this vCPU may have been unplugged and
// plugged in again since the last stop, and have lost its traps. So startCPU sets all traps anew.
func (h *hit) startCPU() error {
	if err := cmp.Or(h.arguments(), h.e.config.Guest.Plant(nil), h.e.plant()); err != nil {
		return err
	}
	return h.proceed(Pass, "")
}

// Bits of ima_appraise and ima_policy_flag (security/integrity/ima/ima.h).
const (
	appraiseEnforce = 0x01 // IMA_APPRAISE_ENFORCE
	appraiseFix     = 0x02 // IMA_APPRAISE_FIX
	appraiseLog     = 0x04 // IMA_APPRAISE_LOG
	policyAppraise  = 0x04 // IMA_APPRAISE in ima_policy_flag
)

// posture is the part of the posture (see the package comment) that is read with each hit and each
// heartbeat.
type posture struct{ appraise, policyFlag, kexecLoadDisabled, lockedDown uint64 }

// variables returns the ranges of the posture's kernel variables. A kernel without lockdown has no
// such variable. Another one is read in its place, and lockedDown ignores it.
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

// lockedDown returns an error unless the kernel is locked down, or need not be. Without lockdown,
// root can change the kernel, and nothing in the guest is reliable.
func (e *Enforcer) lockedDown(p posture) error {
	if want := uint64(e.config.Profile.Values.LockIntegrity); !e.config.NoLockdown && (want == 0 || p.lockedDown < want) {
		return errors.New("the guest's kernel is not locked down: add lockdown=integrity to its command line, or accept the risk with --no-lockdown")
	}
	return nil
}

// inForce reports whether a policy with appraisal is in force.
func (p posture) inForce() bool { return p.policyFlag&policyAppraise != 0 }

// check returns an error unless IMA enforces and kexec is disabled, as they must be once the policy
// is complete. Whether the policy is in force is for the caller to check.
func (p posture) check() error {
	switch mode := p.appraise; {
	case mode&appraiseEnforce == 0 || mode&(appraiseFix|appraiseLog) != 0:
		return fmt.Errorf("the guest's IMA does not enforce (ima_appraise is %#x)", mode)
	case p.kexecLoadDisabled != 1:
		return errors.New("the guest may start another kernel (kexec_load_disabled is not 1)")
	}
	return nil
}

// tracing holds the first bytes that ftrace writes over the nop at a function's entry: of a call,
// and of int3 while ftrace changes the entry.
var tracing = []byte{0xe8, 0xcc}

// run lets the guest run and adds up its running time. It returns an error if the guest exceeds the
// time limit of its phase.
func (e *Enforcer) run(until time.Duration) (guest.Stop, error) {
	before := time.Now()
	s, err := e.config.Guest.Run(until)
	e.ran += time.Since(before)
	if err == nil && e.config.AuditComplete != nil {
		err = e.config.AuditComplete()
	}
	if limit, what := e.limit(); err == nil && limit > 0 && e.ran > limit {
		err = fmt.Errorf("the guest has run for %v, and %s", limit, what)
	}
	return s, err
}

// untilBeat returns how long the guest may run until the next heartbeat, or until a time limit if
// that comes first. Heartbeats come at random moments, so nobody in the guest can undo a change
// just in time.
func (e *Enforcer) untilBeat() time.Duration {
	if e.config.Heartbeat == 0 {
		return 0
	}
	if time.Until(e.beat) <= 0 {
		e.beat = time.Now().Add(1 + rand.N(e.config.Heartbeat))
	}
	left := time.Until(e.beat)
	if limit, _ := e.limit(); limit > 0 {
		left = min(left, limit-e.ran+1)
	}
	return max(1, left)
}

// heartbeat checks the kernel of the stopped guest.
func (e *Enforcer) heartbeat() error {
	if e.config.Heartbeat == 0 || e.saved.Phase < enforcing {
		return nil
	}
	return cmp.Or(e.checkSameKernel(), e.checkUnchanged())
}

// checkSameKernel returns an error if a vCPU runs another kernel, without traps. That happens after
// a reset: the new kernel lies elsewhere, and the old one may still be in memory unchanged. An idle
// vCPU is in its kernel, too. A vCPU in a module is outside the kernel's text, but its page tables
// map the banner.
func (e *Enforcer) checkSameKernel() error {
	p, g := e.config.Profile, e.config.Guest
	vcpus, err := g.VCPUs()
	for i, r := range vcpus {
		if at := r.RIP - e.saved.Slide; g.Trapped() == 0 || r.CPL() != 0 || r.RIP < mapStart || at >= p.Text && at < p.TextEnd {
			continue
		}
		banner := span(p.Variables.Banner+e.saved.Slide, len(p.Banner))
		if err = cmp.Or(err, e.memory(i).try(banner)); err == nil && string(banner.Buf) != p.Banner {
			err = fmt.Errorf("another kernel runs at %#x: the guest was reset and now runs without traps (-no-reboot prevents that)", r.RIP)
		}
	}
	return err
}

// limit returns the maximum running time in this phase, and what the guest has not done if it
// exceeds that. It returns 0 if there is no limit.
func (e *Enforcer) limit() (limit time.Duration, what string) {
	switch {
	case e.saved.Phase < enforcing:
		return e.config.StartLimit, "its IMA policy is not in force"
	case e.saved.Phase == enforcing:
		return e.config.InitramfsLimit, "it has executed only programs of the initramfs since its policy came into force"
	}
	return 0, ""
}

// watched returns what must not change once the policy is in force: the code of the appraisal path,
// and the pointer to the list of rules.
func (e *Enforcer) watched() []profile.Function {
	p := e.config.Profile
	return append([]profile.Function{{Name: "ima_rules", Address: p.Variables.Rules, Size: 8}}, p.Code...)
}

// checkUnchanged checks the posture, the entries of the trapped functions, and the contents of
// watched. The first call, when the policy comes into force, records the digests that later calls
// compare.
func (e *Enforcer) checkUnchanged() error {
	ranges, watched := e.variables(), e.watched()
	for _, at := range points {
		ranges = append(ranges, span(e.address(at), profile.HookSize))
	}
	for _, f := range watched {
		ranges = append(ranges, span(f.Address+e.saved.Slide, int(f.Size)))
	}
	g := e.config.Guest
	if err := cmp.Or(g.ReadImage(e.saved.PhysBase-mapStart, ranges), readError(ranges...)); err != nil {
		return fmt.Errorf("checking the kernel: %w", err)
	}
	state, entries, code := postureOf(ranges), ranges[4:][:len(points)], ranges[4+len(points):]
	if err := cmp.Or(state.check(), e.lockedDown(state)); err != nil {
		return err
	}
	if !state.inForce() {
		return errors.New("the guest's IMA does not appraise files any more (ima_policy_flag)")
	}
	for i, at := range points {
		if got := entries[i].Buf; g.Trapped() > 0 && !bytes.Contains(tracing, got[:1]) && !bytes.Equal(got, e.config.Profile.Hooks[at.function].Bytes) {
			return fmt.Errorf("the entry of %s holds % x, which is neither the profile's nop nor a call", at.function, got)
		}
	}
	return e.compare(watched, code)
}

// linuxPatches holds, by size, the first bytes of what Linux writes where it patches its code
// (formats/README.md): lock prefixes; short jump labels; fentry slots, jump labels and static
// calls; conditional static calls. During a change the place holds \xcc.
var linuxPatches = map[uint32][]string{
	1: {"\xf0", "\x3e"}, 2: {"\x66\x90", "\xeb", "\xcc"}, 5: {"\x0f\x1f\x44\x00\x00", "\xe8", "\xe9", "\x2e\x2e\x2e\x31\xc0", "\xcc"}, 6: {"\x0f", "\xcc"},
}

// compare compares contents with the recorded digests. It leaves out what the kernel itself
// patches. Any other bytes in a patched place are a change, such as a return at the entry of a
// function.
func (e *Enforcer) compare(watched []profile.Function, contents []*guest.Range) error {
	first := e.saved.Code == nil
	for i, f := range watched {
		buf := contents[i].Buf
		for _, s := range f.Patched {
			place, addr := buf[s.At:][:s.Size], f.Address+e.saved.Slide+uint64(s.At)
			linux := slices.ContainsFunc(linuxPatches[s.Size], func(start string) bool { return bytes.HasPrefix(place, []byte(start)) })
			// The backend checks traps in the guest's memory itself.
			trap := e.config.Guest.Trapped() == 0 && slices.ContainsFunc(points, func(p point) bool { return e.address(p) == addr })
			if linux || trap {
				clear(place)
			}
		}
		sum := sha256.Sum256(buf)
		if first {
			e.saved.Code = append(e.saved.Code, sum[:])
		} else if i >= len(e.saved.Code) || !bytes.Equal(e.saved.Code[i], sum[:]) {
			return fmt.Errorf("%s has changed in the guest's kernel", f.Name)
		}
	}
	return nil
}
