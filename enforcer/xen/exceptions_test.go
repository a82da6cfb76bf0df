package xen

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// enoughHits is many times what one round of the guest's programs makes.
const enoughHits = 20_000

// serveUntil answers hits, of which it denies about every other one, until something has
// happened in the guest. Which ones follows no pattern: with one, a process of the guest that executes by turns with
// another one could be denied for ever.
// A guest that makes no hit any more, or far more than it needs, hangs; one that makes hits is merely slow.
func serveUntil(t *testing.T, g *Guest, happened func() bool) {
	t.Helper()
	hits, deny := 0, rand.New(rand.NewPCG(1, 1))
	for last := time.Now(); !happened(); {
		s, err := g.Run(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if hits > enoughHits || time.Since(last) > patience {
			all, err := g.VCPUs()
			t.Fatalf("it has not come so far after %d hits: %+x, %v", hits, all, err)
		}
		if !s.Hit {
			continue
		}
		last = time.Now()
		a := passed(&s)
		if hits++; deny.IntN(2) == 0 {
			if a, err = denied(g, &s); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Answer(&s, a); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d hits", hits)
}

// plantWhileItRuns tries again when all virtual CPUs stood in programs, whose page tables do not have the kernel.
func plantWhileItRuns(t *testing.T, g *Guest, hook uint64) {
	t.Helper()
	for {
		err := g.Plant([]uint64{hook})
		if err == nil {
			return
		}
		if !errors.Is(err, guest.ErrNotYet) {
			t.Fatal(err)
		}
		if _, err := g.Run(time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// foreign gives what the guest's programs of that kind have said, each in one round after the
// other.
func (d *domain) foreign() map[string][]string {
	said := map[string][]string{}
	text, _ := os.ReadFile(d.log)
	for line := range strings.Lines(string(text)) {
		if _, rest, ok := strings.Cut(line, "GUEST foreign "); ok {
			_, rest, _ = strings.Cut(rest, " ")
			name, text, _ := strings.Cut(strings.TrimSpace(rest), ": ")
			said[name] = append(said[name], text)
		}
	}
	return said
}

// TestForeign takes long, and may stand still for minutes, where the emulator gets little of a processor: the guest's two
// virtual CPUs wait for each other in turns on the one that is emulated, while its clock runs on. So does the same guest before
// it is watched; it is not the enforcer that it waits for. Hence the limits are of hits.
//
// It shows that what is not the enforcer's (exceptions and instructions that it is told of, and
// registers that it has no reason to change) is in a guarded guest as it was in the same
// guest before it was guarded.
func TestForeign(t *testing.T) {
	dir, k := bed(t)
	d := newDomain(t, dir, append(config(), "vcpus=2", `extra="console=hvc0 panic=0 smp foreign"`)...)
	g := d.held(k, Options{})
	if err := g.Plant(nil); err != nil { // lets it go, and has Xen watch for nothing
		t.Fatal(err)
	}
	rounds := func(n int) func() bool { return func() bool { return len(d.foreign()["end"]) >= n } }
	took := func(n int) time.Duration {
		t.Helper()
		serveUntil(t, g, rounds(n-1)) // which had begun
		begin := time.Now()
		serveUntil(t, g, rounds(n))
		return time.Since(begin)
	}
	unwatched := took(2)
	before := d.foreign()
	plantWhileItRuns(t, g, k.hook)
	watched := took(len(before["end"]) + 2)
	t.Logf("a round takes %.1f times as long as unwatched, half of whose executions are denied and tried again (%v, %v)",
		watched.Seconds()/unwatched.Seconds(), watched, unwatched)
	for name, texts := range d.foreign() {
		t.Logf("%s: %d times %q", name, len(texts), texts[0])
		if i := slices.IndexFunc(texts, func(text string) bool { return text != texts[0] }); i >= 0 {
			t.Errorf("%s gave, for the %d. time, of which %d were unguarded, %q and not %q", name, i+1, len(before[name]), texts[i], texts[0])
		}
		if strings.Contains(texts[0], "failed") {
			t.Errorf("%s: %s", name, texts[0])
		}
	}
}
