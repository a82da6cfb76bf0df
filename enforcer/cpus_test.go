package enforcer

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestPossibleCPUs: if the kernel can use more vCPUs than have traps, the guest runs its first
// program outside the initramfs only if it will stop before it starts another vCPU.
func TestPossibleCPUs(t *testing.T) {
	value, _ := signed(t, "true")
	for name, tt := range map[string]struct {
		possible, trapped int
		traps             int    // maximum number of traps
		asked             bool   // whether the start of a vCPU is trapped
		says              string // "" if it runs
	}{
		"one":            {1, 1, 4, false, ""},
		"two":            {2, 2, 4, false, ""},
		"fewer":          {1, 2, 4, false, ""}, // nr_cpus=1
		"more":           {2, 1, 5, true, ""},
		"more, no trap":  {2, 1, 4, false, "the kernel can use 2 vCPUs, but only 1 are present"},
		"many, no trap":  {100, 3, 4, false, "nr_cpus=3"},
		"many, any trap": {100, 3, 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.MaxTraps = tt.traps
			b.setCPUs(tt.possible)
			b.CPUs = make([]guest.Registers, tt.trapped)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value))
			err := b.e.Run()
			if last := b.records[len(b.records)-1]; tt.says == "" && (err != nil || last.Verdict != Pass) {
				t.Errorf("%v, %+v", err, last)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || !b.Frozen || b.saved().Phase == initramfsLeft) {
				t.Errorf("%v, want %q; saved %+v", err, tt.says, b.saved())
			}
			if asked := slices.Contains(b.Traps, entry("idle_thread_get")); asked != tt.asked && tt.says == "" {
				t.Errorf("the start of a vCPU is trapped: %v", asked)
			}
		})
	}
}

// TestStartedCPU: before a vCPU is started, all traps are set anew, because it may have been
// unplugged and plugged in again.
func TestStartedCPU(t *testing.T) {
	b := newBed(t, 0)
	b.setCPUs(2)
	b.boot()
	b.Do(b.appraisal(rootSB, 3, nil))
	plants := 0
	b.Do(b.after(func() { plants = b.Plants }, b.call(entry("idle_thread_get"), guest.Registers{RDI: 1})))
	b.run()
	last := b.records[len(b.records)-1]
	if last.Hook != "idle_thread_get" || last.Verdict != Pass || b.Plants != plants+2 || !slices.Contains(b.Traps, entry("integrity_digsig_verify")) {
		t.Errorf("%+v; planted %d times; traps %x", last, b.Plants-plants, b.Traps)
	}

	b.Traps = slices.DeleteFunc(b.Traps, func(a uint64) bool { return a == entry("idle_thread_get") })
	b.e = b.enforcer(b.e.trust.Load())
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "has run without traps") {
		t.Errorf("taken over without that trap: %v", err)
	}
}

// TestPluggedUnguarded: vCPUs that were plugged in while nobody guarded the guest have no traps.
func TestPluggedUnguarded(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	b.run()
	b.CPUs = append(b.CPUs, guest.Registers{})
	b.e = b.enforcer(b.e.trust.Load())
	b.Do(b.appraisal(rootSB, 3, nil))
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "2 vCPUs, but only 1 had traps") || !b.Frozen {
		t.Errorf("%v, frozen %v", err, b.Frozen)
	}
}
