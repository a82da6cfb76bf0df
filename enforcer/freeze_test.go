package enforcer

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
)

// TestFreeze tests what freezes the guest.
func TestFreeze(t *testing.T) {
	value, sum := []byte(nil), []byte(nil)
	tests := map[string]struct {
		slide  uint64
		do     func(b *bed)
		reason string
	}{
		"no policy": {do: func(b *bed) { b.Do(b.exec(initSB), b.exec(rootSB)) }, reason: "no policy is in force"},
		"foreign rule": {do: func(b *bed) {
			b.Do(b.addRule(pinned[0]), b.addRule("appraise func=FILE_CHECK"))
		}, reason: "rule 2 of the pinned"},
		"rule with an addition":      {do: func(b *bed) { b.Do(b.addRule(pinned[0] + " uid=0")) }, reason: "rule 1"},
		"rule that is cut":           {do: func(b *bed) { b.Do(b.addRule(pinned[0][:10])) }, reason: "rule 1"},
		"rule with a trailing blank": {do: func(b *bed) { b.Do(b.addRule(pinned[0] + " ")) }, reason: "rule 1"},
		"missing rule": {do: func(b *bed) {
			b.Do(b.addRule(pinned[0]), b.call(entry("ima_update_policy"), guest.Registers{}))
		}, reason: "after 1 of the 3 rules"},
		"one more rule": {do: func(b *bed) {
			for _, r := range pinned {
				b.Do(b.addRule(r))
			}
			b.Do(b.addRule("measure func=FILE_CHECK"))
		}, reason: "after the last rule"},
		"rule afterwards": {do: func(b *bed) { b.boot(); b.Do(b.addRule(pinned[0])) }, reason: "after the policy is complete"},
		"policy afterwards": {do: func(b *bed) {
			b.boot()
			b.Events = b.Events[:len(b.Events)-1]
			b.Do(b.after(func() { b.setWord(kernel.Variables.PolicyFlag, 4) },
				b.call(entry("ima_update_policy"), guest.Registers{})))
		}, reason: "second policy"},
		"rule without an end": {do: func(b *bed) {
			b.Do(b.addRule(strings.Repeat("x", 2*pageSize)))
		}, reason: "without an end"},
		"rule that cannot be read": {do: func(b *bed) {
			b.Do(b.call(entry("ima_parse_add_rule"), guest.Registers{RDI: 8}))
		}, reason: "no memory"},
		"log mode": {do: func(b *bed) {
			b.boot()
			b.Do(b.after(func() { b.setWord(kernel.Variables.Appraise, 0x7c) }, b.appraisal(rootSB, 3, value)))
		}, reason: "does not enforce"},
		"fix mode": {do: func(b *bed) {
			b.boot()
			b.Do(b.after(func() { b.setWord(kernel.Variables.Appraise, 0x7b) }, b.appraisal(rootSB, 3, value)))
		}, reason: "does not enforce"},
		"log mode from the beginning": {do: func(b *bed) {
			b.setWord(kernel.Variables.Appraise, 0x7c)
			b.boot()
			b.Events = b.Events[:len(b.Events)-1] // ends before the policy is in force
		}, reason: "does not enforce"},
		"appraisal off": {do: func(b *bed) {
			b.boot()
			b.Do(b.after(func() { b.setWord(kernel.Variables.PolicyFlag, 1) }, b.verification(value, sum)))
		}, reason: "no IMA policy"},
		"kexec": {do: func(b *bed) {
			b.boot()
			b.Do(b.after(func() { b.setWord(kernel.Variables.KexecLoadDisabled, 0) }, b.appraisal(rootSB, 3, value)))
		}, reason: "another kernel"},
		"appraisal before any policy": {do: func(b *bed) {
			b.setWord(kernel.Variables.PolicyFlag, 4)
			b.Do(b.appraisal(rootSB, 3, value))
		}, reason: "other than the pinned one"},
		"called from nowhere": {do: func(b *bed) {
			b.boot()
			b.Do(b.after(func() { b.setPointer(stack, textEnd) }, b.appraisal(rootSB, 3, value)))
		}, reason: "not in the kernel's text"},
		"stack that cannot be read": {do: func(b *bed) {
			b.boot()
			b.Do(func(*guesttest.Guest) (int, guest.Registers) {
				return 0, guest.Registers{RIP: entry("ima_appraise_measurement"), RSP: 8, CS: kernelCS}
			})
		}, reason: "no memory"},
		"another kernel": {do: func(b *bed) {
			b.Write(kernel.Variables.Banner, []byte("FreeBSD"))
			b.Do(at(text+0x5000, kernelCS))
		}, reason: "not the profile's"},
		"another system": {do: func(b *bed) { b.Do(at(0xfffff80000001000, kernelCS)) }, reason: "not the profile's"},
		"another banner": {do: func(b *bed) {
			b.Write(kernel.Variables.Banner, []byte(strings.Replace(kernel.Banner, "\n", "!", 1)))
			b.Do(b.exec(initSB))
		}, reason: "not the profile's"},
		"other code at the entry": {do: func(b *bed) {
			b.Write(entry("integrity_digsig_verify"), []byte{0xe9})
			b.Do(b.exec(initSB))
		}, reason: "the entry of integrity_digsig_verify"},
		"user space before the kernel": {do: func(b *bed) { b.Do(at(0x401000, userCS)) }, reason: "user space"},
		"found too late": {slide: 0x200000, do: func(b *bed) {
			b.setWord(kernel.Variables.SystemState, 3)
			b.Do(at(text+b.slide+0x5000, kernelCS))
		}, reason: "too late"},
		"backend": {do: func(b *bed) {
			b.Do(b.after(func() { b.Fail = errors.New("lost") }, b.exec(initSB)))
		}, reason: "lost"},
	}
	value, sum = signed(t, "true")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, tt.slide)
			tt.do(b)
			err := b.e.Run()
			var frozen *FrozenError
			if !errors.As(err, &frozen) {
				t.Fatalf("not frozen: %v", err)
			}
			if !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%v, want %q", err, tt.reason)
			}
			if frozen.Later != (tt.reason == "lost") {
				t.Errorf("%v", err)
			}
			if !b.Frozen || b.Free {
				t.Error("the guest was not frozen")
			}
			if len(b.Events) > 0 {
				t.Errorf("%d events are left", len(b.Events))
			}
		})
	}
}

// TestAuditComplete: once the audit has lost records, the guest does not continue, and the hit is
// not answered.
func TestAuditComplete(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	before := len(b.Events)
	b.e.config.AuditComplete = func() error {
		if len(b.Events) == 0 {
			return errors.New("records were lost")
		}
		return nil
	}
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "records were lost") || !b.Frozen || len(b.Answers) != before-1 {
		t.Errorf("%v, %d answers to %d hits", err, len(b.Answers), before)
	}
}
