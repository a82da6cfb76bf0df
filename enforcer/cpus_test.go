package enforcer

import (
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestPossibleCPUs: a kernel that can use more virtual CPUs than have traps does not come to the first program
// outside the initramfs.
func TestPossibleCPUs(t *testing.T) {
	value, _ := signed(t, "true")
	for name, tt := range map[string]struct {
		possible, trapped int
		says              string // "" if it runs
	}{
		"one":   {1, 1, ""},
		"two":   {2, 2, ""},
		"fewer": {1, 2, ""}, // nr_cpus=1
		"more":  {2, 1, "the kernel can use 2 virtual CPUs, and only the 1 that are there now have traps"},
		"many":  {100, 3, "nr_cpus=3"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
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
		})
	}
}

// TestPluggedUnguarded: virtual CPUs that came while nobody guarded the guest have no traps.
func TestPluggedUnguarded(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	b.run()
	b.CPUs = append(b.CPUs, guest.Registers{})
	b.e = b.enforcer(b.e.trust.Load())
	b.Do(b.appraisal(rootSB, 3, nil))
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "2 virtual CPUs, of which 1 had traps") || !b.Frozen {
		t.Errorf("%v, frozen %v", err, b.Frozen)
	}
}
