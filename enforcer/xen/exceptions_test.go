package xen

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveUntil answers hits, of which it denies about every other one, until something has
// happened in the guest. Which ones follows no pattern: with one, a process of the guest that executes by turns with
// another one could be denied for ever.
func serveUntil(t *testing.T, g *Guest, happened func() bool) {
	t.Helper()
	hits, deny := 0, rand.New(rand.NewPCG(1, 1))
	for end := time.Now().Add(patience); !happened(); {
		s, err := g.Run(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			all, err := g.VCPUs()
			t.Fatalf("it has not come so far after %d hits: %+x, %v", hits, all, err)
		}
		if !s.Hit {
			continue
		}
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

// TestForeign: what is not the enforcer's (exceptions and instructions that it is told of, and
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
	serveUntil(t, g, rounds(1))
	before := d.foreign()
	if err := g.Plant([]uint64{k.hook}); err != nil {
		t.Fatal(err)
	}
	serveUntil(t, g, rounds(len(before["end"])+2)) // one had begun
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
