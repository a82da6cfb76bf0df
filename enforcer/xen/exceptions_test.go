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

// enoughHits is far more than one round of the guest's programs makes.
const enoughHits = 20_000

// serveUntil answers hits until something has happened in the guest. It denies about half of them,
// without a pattern: with one, two processes that execute in turns could be denied forever. If the
// guest makes no more hits, or far more than it needs, it hangs. A guest that makes hits is only
// slow.
func serveUntil(t *testing.T, g *Guest, happened func() bool) {
	t.Helper()
	hits, deny := 0, rand.New(rand.NewPCG(1, 1))
	for last := time.Now(); !happened(); {
		s, err := g.Run(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if hits > enoughHits || time.Since(last) > timeout {
			all, err := g.VCPUs()
			t.Fatalf("nothing has happened after %d hits: %+x, %v", hits, all, err)
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

// plantWhileItRuns tries again while all vCPUs are in user space, whose page tables do not map the
// kernel.
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

// foreign returns, by name, what the guest's programs have printed, one text for each round.
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

// TestForeign shows that a guarded guest sees its own exceptions, instructions and registers as it
// did before it was guarded.
//
// The test takes long, and may hang for minutes if the emulator gets little processor time: the
// guest's two vCPUs wait for each other on the one emulated processor while the guest's clock runs
// on. That happens in the unguarded guest, too. So the limits count hits.
func TestForeign(t *testing.T) {
	dir, k := bed(t)
	d := newDomain(t, dir, append(config(), "vcpus=2", `extra="console=hvc0 panic=0 smp foreign"`)...)
	g := d.held(k, Options{})
	if err := g.Plant(nil); err != nil { // releases it without any trap
		t.Fatal(err)
	}
	rounds := func(n int) func() bool { return func() bool { return len(d.foreign()["end"]) >= n } }
	took := func(n int) time.Duration {
		t.Helper()
		serveUntil(t, g, rounds(n-1)) // the round that has begun
		begin := time.Now()
		serveUntil(t, g, rounds(n))
		return time.Since(begin)
	}
	unwatched := took(2)
	before := d.foreign()
	plantWhileItRuns(t, g, k.hook)
	watched := took(len(before["end"]) + 2)
	t.Logf("with half of its executions denied and tried again, a round takes %.1f times as long as without a trap (%v, %v)",
		watched.Seconds()/unwatched.Seconds(), watched, unwatched)
	for name, texts := range d.foreign() {
		t.Logf("%s: %d times %q", name, len(texts), texts[0])
		if i := slices.IndexFunc(texts, func(text string) bool { return text != texts[0] }); i >= 0 {
			t.Errorf("%s printed in round %d (%d rounds were unguarded) %q, not %q", name, i+1, len(before[name]), texts[i], texts[0])
		}
		if strings.Contains(texts[0], "failed") {
			t.Errorf("%s: %s", name, texts[0])
		}
	}
}
