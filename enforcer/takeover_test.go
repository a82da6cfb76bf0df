package enforcer

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestTakeOver: a new enforcer continues where the last one ended, in every phase, and answers the
// hit that its predecessor did not answer.
func TestTakeOver(t *testing.T) {
	value, sum := signed(t, "true")
	events := func(b *bed) {
		b.boot()
		b.Do(b.appraisal(rootSB, 3, value), b.verification(value, sum), b.appraisal(rootSB, 3, nil))
	}
	uncut := newBed(t, 0x200000)
	uncut.Do(at(text+0x200000+0x5000, kernelCS))
	events(uncut)
	uncut.run()

	for cut := 1; cut < len(uncut.records); cut++ {
		b := newBed(t, 0x200000)
		b.Do(at(text+0x200000+0x5000, kernelCS))
		events(b)
		all := b.Events
		b.Events = all[:cut+1]
		first := b.e.Run()
		// The next hit stops the guest, because nobody answers it.
		b.Events = all[cut+1:]
		b.e = b.enforcer(b.e.trust.Load())
		second := b.e.Run()
		if first != nil && !errors.Is(first, ErrNeverGuarded) {
			t.Fatalf("cut at %d: %v", cut, first)
		}
		inLoading := cut > 1 && cut <= 1+len(pinned)
		if inLoading {
			// Nobody knows how much of the policy is loaded.
			if second == nil || !b.Frozen {
				t.Errorf("cut at %d: a partly loaded policy is accepted", cut)
			}
			continue
		}
		if second != nil {
			t.Errorf("cut at %d: %v", cut, second)
		}
		if second == nil && b.records[len(b.records)-1].Verdict != Deny {
			t.Errorf("cut at %d: %+v", cut, b.records[len(b.records)-1])
		}
		if len(b.Traps) != 4 {
			t.Errorf("cut at %d: traps %#x", cut, b.Traps)
		}
		if len(b.Missed) > 0 {
			t.Errorf("cut at %d: passed without a trap: %+v", cut, b.Missed)
		}
	}
}

// TestForeignState: a guest that has run without a matching state stays frozen.
func TestForeignState(t *testing.T) {
	tests := map[string]func(b *bed){
		"no state":      func(b *bed) {},
		"another guest": func(b *bed) { b.state.Save(Saved{Guest: "another", Phase: enforcing}) },
		"nameless":      func(b *bed) { b.state.Save(Saved{Phase: enforcing}); b.ID = "" },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.New = false
			prepare(b)
			b.Do(b.exec(initSB))
			err := b.e.Run()
			if err == nil || !strings.Contains(err.Error(), "has run before") || !b.Frozen || len(b.Events) != 1 {
				t.Errorf("%v, frozen %v", err, b.Frozen)
			}
		})
	}
}

// TestReleased: a guest that ran without traps is not taken over, even if its state is good.
func TestReleased(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	b.run()
	if err := b.Release(); err != nil {
		t.Fatal(err)
	}
	b.e = b.enforcer(b.e.trust.Load())
	value, _ := signed(t, "true")
	b.Do(b.appraisal(rootSB, 3, value))
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "without traps") || !b.Frozen || len(b.Events) != 1 {
		t.Errorf("%v", err)
	}
}

// TestStop: as long as the kernel is not located, Stop freezes the guest.
func TestStop(t *testing.T) {
	b := newBed(t, 0)
	b.Do(at(0x7c00, 0xf000), at(text+0x5000, kernelCS))
	b.e.Stop()
	if err := b.e.Run(); err == nil || !b.Frozen || len(b.Events) != 1 {
		t.Errorf("%v, frozen %v, events left %d", err, b.Frozen, len(b.Events))
	}
}

// TestStateCannotBeSaved: if the state cannot be saved, the guest does not continue.
func TestStateCannotBeSaved(t *testing.T) {
	b := newBed(t, 0)
	b.e.config.State = badState
	b.Do(b.exec(initSB))
	if err := b.e.Run(); err == nil || !b.Frozen || len(b.Answers) > 0 {
		t.Errorf("%v, answers %v", err, b.Answers)
	}
}

var badState = State{Path: "/nowhere/at/all"}

func TestFileState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := State{path, "pins"}
	if _, err := f.Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	want := Saved{Guest: "pid 1 start 2", Pins: "pins", Slide: 1 << 40, Phase: enforcing}
	if err := f.Save(want); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Load(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (State{path, "other"}).Load(); err == nil {
		t.Error("another profile's state is accepted")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a state that anybody can write is accepted")
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); err == nil {
			t.Error("a state of another user is accepted")
		}
		if err := os.Chown(path, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path, path+"-link"); err != nil {
		t.Fatal(err)
	}
	if _, err := (State{path + "-link", "pins"}).Load(); err == nil {
		t.Error("a symbolic link is followed")
	}
	for _, phase := range []phase{booting - 1, initramfsLeft + 1} {
		if err := f.Save(Saved{Phase: phase}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); err == nil {
			t.Errorf("phase %d is accepted", phase)
		}
	}
	for _, text := range []string{"", "{", `{"pins":"pins"}`, `{"pins":"pins","phase":"other"}`, strings.Repeat("x", maxState+1)} {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".vmseal*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// TestTakeOverTraced: a guest that is already guarded may trace the trapped functions, but the
// kernel must be the same.
func TestTakeOverTraced(t *testing.T) {
	for name, tt := range map[string]struct {
		at     uint64
		text   string
		reason string
	}{
		"traced":         {entry("ima_appraise_measurement"), "\xe8\x01\x02\x03\x04", ""},
		"another kernel": {kernel.Variables.Banner, "FreeBSD", "the profile is for"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.boot()
			b.run()
			b.e = b.enforcer(b.e.trust.Load())
			b.Write(tt.at, []byte(tt.text))
			value, _ := signed(t, "true")
			b.Do(b.appraisal(rootSB, 3, value))
			if err := b.e.Run(); (err != nil) != (tt.reason != "") || err != nil && !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%v, want %q", err, tt.reason)
			}
		})
	}
}
