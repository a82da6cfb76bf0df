package enforcer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
)

// newCodeBed returns a guest whose traps are in its kernel's code. The entries of its functions
// still hold calls instead of nops.
func newCodeBed(t *testing.T, slide uint64, firmware bool) *bed {
	b := newBed(t, slide)
	b.Nop = nop
	b.entries([]byte{0xe8, 1, 2, 3, 4})
	b.Write(kernel.Hold.Address, kernel.Hold.Code)
	b.e.config.Guest = guesttest.Holder{Guest: b.Guest, Firmware: firmware}
	return b
}

func (b *bed) entries(code []byte) {
	for _, h := range kernel.Hooks {
		b.Write(h.Address+b.slide, code)
	}
}

// atHold returns the event that the kernel reaches the point where it is held, after ftrace_init.
func (b *bed) atHold() guesttest.Event {
	return b.after(func() { b.entries(nop) }, at(kernel.Hold.Address, kernelCS))
}

// TestHeld: the traps are set where the guest is held, before anything else happens.
func TestHeld(t *testing.T) {
	b := newCodeBed(t, 0, false)
	early := at(text+0x5000, kernelCS)
	b.Do(early, b.atHold(), func(g *guesttest.Guest) (int, guest.Registers) {
		want := []uint64{entry("security_bprm_check"), entry("ima_parse_add_rule"), entry("ima_update_policy"), entry("ima_appraise_measurement")}
		if !slices.Equal(g.Traps, want) || b.saved().Guest != b.ID {
			t.Errorf("traps %#x, saved %+v", g.Traps, b.saved())
		}
		return b.exec(initSB)(g)
	})
	if err := b.e.Run(); !errors.Is(err, ErrNeverGuarded) {
		t.Fatal(err)
	}
	// Before the guest was held there was no trap.
	if len(b.Missed) != 1 || b.Missed[0].RIP != text+0x5000 {
		t.Errorf("passed without a trap: %#x", b.Missed)
	}
	if r := b.records[len(b.records)-1]; r.Hook != "security_bprm_check" || r.Verdict != Pass {
		t.Errorf("%+v", r)
	}
	found := fmt.Sprintf("found the kernel 6.1.0-test at %#x", uint64(text))
	if !slices.Contains(b.events, found) {
		t.Errorf("events %q, want %q", b.events, found)
	}
}

// TestHeldChecked: the kernel is compared where it is held, and not again: the guest may trace
// functions later.
func TestHeldChecked(t *testing.T) {
	b := newCodeBed(t, 0, false)
	b.Do(b.atHold(), b.after(func() { b.Write(entry("integrity_digsig_verify"), []byte{0xe9}) }, b.exec(initSB)))
	if err := b.e.Run(); !errors.Is(err, ErrNeverGuarded) {
		t.Error(err)
	}
}

// TestNotHeld: a guest is frozen if it cannot be held, or if another kernel is held.
func TestNotHeld(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(b *bed)
		reason string
	}{
		"other code":     {func(b *bed) { b.Write(kernel.Hold.Address, []byte{0xcc}) }, "holding the guest: found cc 48"},
		"no kernel":      {func(b *bed) { p := *kernel; p.Hold.Address = heap - 8; b.e.config.Profile = &p }, "no memory"},
		"backend":        {func(b *bed) { b.Fail = errors.New("lost") }, "lost"},
		"another banner": {func(b *bed) { b.Write(kernel.Variables.Banner, []byte("Linux version 5")); b.Do(b.atHold()) }, "the profile is for"},
		"another kernel": {func(b *bed) { b.Do(at(kernel.Hold.Address, kernelCS)) }, "the entry of security_bprm_check holds e8"},
		"one other entry": {func(b *bed) {
			b.Do(b.after(func() { b.entries(nop); b.Write(entry("blkdev_mmap"), []byte{0xe8}) }, at(kernel.Hold.Address, kernelCS)))
		}, "the entry of blkdev_mmap"},
		"state": {func(b *bed) { b.e.config.State = badState; b.Do(b.atHold()) }, "saving the state"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newCodeBed(t, 0, false)
			tt.do(b)
			err := b.e.Run()
			var frozen *FrozenError
			if !errors.As(err, &frozen) || !strings.Contains(err.Error(), tt.reason) || !b.Frozen || len(b.Events) > 0 {
				t.Errorf("%v, want %q; frozen %v", err, tt.reason, b.Frozen)
			}
		})
	}
}

// TestHeldEnds: a guest that ends before it is held was never guarded, and is not frozen.
func TestHeldEnds(t *testing.T) {
	b := newCodeBed(t, 0, false)
	b.Do(at(text+0x5000, kernelCS))
	if err := b.e.Run(); !errors.Is(err, ErrNeverGuarded) || b.Frozen {
		t.Errorf("%v, frozen %v", err, b.Frozen)
	}
}

// TestNotYet: as long as the kernel has not written its nops, it is looked for again, wherever it
// lies.
func TestNotYet(t *testing.T) {
	for name, slide := range map[string]uint64{"at its place": 0, "moved": 0x1c00000} {
		t.Run(name, func(t *testing.T) {
			b := newCodeBed(t, slide, true)
			here := at(text+slide+0x5000, kernelCS)
			b.Do(at(0x7c00, 0xf000), here, here, b.after(func() { b.entries(nop) }, here))
			b.boot()
			if _, r := b.run(); r.Verdict != Allow || b.saved().Slide != slide || b.saved().Phase != enforcing {
				t.Errorf("%+v, saved %+v", r, b.saved())
			}
			if n := len(slices.DeleteFunc(b.events, func(e string) bool { return !strings.HasPrefix(e, "found") })); n != 1 {
				t.Errorf("found %d times", n)
			}
		})
	}
}

// TestNotYetTooLate: the nops must be there before user space can run.
func TestNotYetTooLate(t *testing.T) {
	for name, last := range map[string]func(b *bed) guesttest.Event{
		"running": func(b *bed) guesttest.Event {
			return b.after(func() { b.entries(nop); b.setWord(kernel.Variables.SystemState, 3) }, at(text+0x5000, kernelCS))
		},
		"user space": func(b *bed) guesttest.Event { return at(0x401000, userCS) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newCodeBed(t, 0, true)
			b.Do(at(text+0x5000, kernelCS), last(b))
			if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "user space") || !b.Frozen || len(b.Traps) > 0 {
				t.Errorf("%v, frozen %v, traps %#x", err, b.Frozen, b.Traps)
			}
		})
	}
}

// TestStopNotYet: Stop works while traps cannot be set yet.
func TestStopNotYet(t *testing.T) {
	b := newCodeBed(t, 0, true)
	here := at(text+0x5000, kernelCS)
	b.Do(here, b.after(b.e.Stop, here), here)
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "stopped before") || !b.Frozen || len(b.Events) != 1 {
		t.Errorf("%v, frozen %v, events left %d", err, b.Frozen, len(b.Events))
	}
}
