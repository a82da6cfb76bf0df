package xen

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestCost prints the cost of a hit: the number of hypercalls, without those that only wait for it,
// and the time, as a multiple of an empty hypercall.
func TestCost(t *testing.T) {
	_, g, _ := planted(t, forms["1 vCPU"])
	serve(t, g, 20, false) // map what stays mapped
	const hits = 40
	var calls []int
	var times, empty []time.Duration
	for range hits {
		take := arrived(t, g)
		before, begin := g.calls, time.Now()
		g.last = take()
		s := g.last
		ranges := []*guest.Range{{Addr: s.Regs.RSP, Buf: make([]byte, 8)}, {Addr: s.Regs.RDI, Buf: make([]byte, 256)}}
		if err := g.Read(s.VCPU, ranges); err != nil || !s.Hit || ranges[0].Err != nil || ranges[1].Err != nil {
			t.Fatalf("%+v: %v, %v, %v", s, err, ranges[0].Err, ranges[1].Err)
		}
		if err := g.Answer(&s, guest.Answer{RIP: s.Regs.RIP + 5}); err != nil {
			t.Fatal(err)
		}
		calls, times = append(calls, g.calls-before), append(times, time.Since(begin))
		begin = time.Now()
		if _, err := g.call(hypercallVersion, 0); err != nil {
			t.Fatal(err)
		}
		empty = append(empty, time.Since(begin))
	}
	slices.Sort(calls)
	slices.Sort(times)
	slices.Sort(empty)
	multiple := func(i int) float64 { return float64(times[i]) / float64(empty[hits/2]) }
	t.Logf("%s: %d to %d hypercalls per hit, median %d; median time %.1f times that of an empty hypercall, minimum %.1f times (%v)",
		g.chosen, calls[0], calls[hits-1], calls[hits/2], multiple(hits/2), multiple(0), empty[hits/2])
	// Further hypercalls map memory that the guest has moved since.
	if g.pv && calls[0] > 6 {
		t.Errorf("%d hypercalls, want at most 6", calls[0])
	}
}

// arrived waits for a hit and returns the function that takes it.
func arrived(t *testing.T, g *Guest) (take func() guest.Stop) {
	t.Helper()
	for end := time.Now().Add(timeout); time.Now().Before(end) && g.err == nil; {
		switch f := g.f.(type) {
		case *debug:
			if vcpu, _ := f.status(); vcpu >= 0 {
				return func() guest.Stop { return f.stopped(vcpu) }
			}
			time.Sleep(pollInterval)
		case *monitor:
			if atomic.LoadUint32(&f.ring.requests) != f.consumed {
				return func() guest.Stop { return f.next(time.Now()) }
			}
			f.wait(end)
		}
	}
	t.Fatalf("no hit: %v", g.err)
	return nil
}
