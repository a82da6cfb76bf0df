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

// tracing has what ftrace makes the nop at the entry of a function begin with: a call, and int3 while it changes that.
var tracing = []byte{0xe8, 0xcc}

// run lets the guest run, and counts how long it did. It has to go on in time from the phases in
// which files are not verified.
func (e *Enforcer) run(until time.Duration) (guest.Stop, error) {
	before := time.Now()
	s, err := e.config.Guest.Run(until)
	e.ran += time.Since(before)
	if err == nil && e.config.Whole != nil {
		err = e.config.Whole()
	}
	if limit, what := e.limit(); err == nil && limit > 0 && e.ran > limit {
		err = fmt.Errorf("the guest has run for %v, and %s", limit, what)
	}
	return s, err
}

// untilBeat is how long the guest may run until it is looked at. The moments are random: nobody in
// the guest knows when to have put back what he has changed. A limit that comes first is one, too.
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

// heartbeat looks at a guest that stands still.
func (e *Enforcer) heartbeat() error {
	if e.config.Heartbeat == 0 || e.saved.Phase < enforcing {
		return nil
	}
	return cmp.Or(e.sameKernel(), e.look())
}

// sameKernel looks for a virtual CPU that runs another kernel, past its traps: that of before a reset may still lie in memory
// as it was. One that is idle is in its kernel, too. Modules lie outside of the text, and have the banner in their page tables.
func (e *Enforcer) sameKernel() error {
	p, g := e.config.Profile, e.config.Guest
	vcpus, err := g.VCPUs()
	for i, r := range vcpus {
		if at := r.RIP - e.saved.Slide; g.Trapped() == 0 || r.CPL() != 0 || r.RIP < mapStart || at >= p.Text && at < p.TextEnd {
			continue
		}
		banner := span(p.Variables.Banner+e.saved.Slide, len(p.Banner))
		if err = cmp.Or(err, e.memory(i).try(banner)); err == nil && string(banner.Buf) != p.Banner {
			err = fmt.Errorf("another kernel runs at %#x: the guest was reset (-no-reboot prevents that), and runs past its traps", r.RIP)
		}
	}
	return err
}

// limit is how long the guest may run in its phase, and what it has not done by then; 0 for as long as it likes.
func (e *Enforcer) limit() (limit time.Duration, what string) {
	switch {
	case e.saved.Phase < enforcing:
		return e.config.StartLimit, "its IMA policy is not in force"
	case e.saved.Phase == enforcing:
		return e.config.InitramfsLimit, "it has executed only programs of the initramfs since its policy is in force"
	}
	return 0, ""
}

// watched is what must stay as it is from the moment on at which the policy is in force: the code of
// the appraisal path, and which list of rules counts.
func (e *Enforcer) watched() []profile.Function {
	p := e.config.Profile
	return append([]profile.Function{{Name: "ima_rules", Address: p.Variables.Rules, Size: 8}}, p.Code...)
}

// look compares what nothing in the guest may change with what it was when the policy came into
// force. The first time it notes that.
func (e *Enforcer) look() error {
	ranges, watched := e.variables(), e.watched()
	for _, at := range points {
		ranges = append(ranges, span(e.address(at), profile.HookSize))
	}
	for _, f := range watched {
		ranges = append(ranges, span(f.Address+e.saved.Slide, int(f.Size)))
	}
	g := e.config.Guest
	if err := cmp.Or(g.ReadImage(e.saved.PhysBase-mapStart, ranges), unread(ranges...)); err != nil {
		return fmt.Errorf("looking at the kernel: %w", err)
	}
	state, entries, code := postureOf(ranges), ranges[4:][:len(points)], ranges[4+len(points):]
	if err := cmp.Or(state.check(), e.lockedDown(state)); err != nil {
		return err
	}
	if !state.inForce() {
		return errors.New("the guest's IMA appraises nothing any more (ima_policy_flag)")
	}
	for i, at := range points {
		if got := entries[i].Buf; g.Trapped() > 0 && !bytes.Contains(tracing, got[:1]) && !bytes.Equal(got, e.config.Profile.Hooks[at.function].Bytes) {
			return fmt.Errorf("at the entry of %s lies % x, neither the nop of the profile nor a call", at.function, got)
		}
	}
	return e.compare(watched, code)
}

// written is what Linux writes to the places that it changes, by their size (formats/README.md): lock prefixes; short
// jump labels; fentry slots, jump labels and static calls; conditional static calls. \xcc stands there while it does.
var written = map[uint32][]string{
	1: {"\xf0", "\x3e"}, 2: {"\x66\x90", "\xeb", "\xcc"}, 5: {"\x0f\x1f\x44\x00\x00", "\xe8", "\xe9", "\x2e\x2e\x2e\x31\xc0", "\xcc"}, 6: {"\x0f", "\xcc"},
}

// compare holds contents to their digests, without what the kernel itself changes. Anything else that stands in such a
// place is a change: a return at the entry of a function, for instance.
func (e *Enforcer) compare(watched []profile.Function, contents []*guest.Range) error {
	first := e.saved.Code == nil
	for i, f := range watched {
		buf := contents[i].Buf
		for _, s := range f.Patched {
			place, addr := buf[s.At:][:s.Size], f.Address+e.saved.Slide+uint64(s.At)
			linux := slices.ContainsFunc(written[s.Size], func(start string) bool { return bytes.HasPrefix(place, []byte(start)) })
			// A trap in the guest's memory is looked at by the guest itself.
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
