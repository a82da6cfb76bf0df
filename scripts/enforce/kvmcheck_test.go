package enforce

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestKVMCheck is not a test but what scripts/kvm-check runs: VMSEAL_CHECK_HITS is how many hits each guest is to make, at least. The guests run
// one after the other, since times are measured, and each line that begins with "row" is for the script's table.
func TestKVMCheck(t *testing.T) {
	least, err := strconv.Atoi(os.Getenv("VMSEAL_CHECK_HITS"))
	if err != nil {
		t.Skip("VMSEAL_CHECK_HITS is not set: scripts/kvm-check checks")
	}
	g := theGuest(t)
	for _, vcpus := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d vCPUs", vcpus), func(t *testing.T) {
			gd := newGuard(t, g, "6.1")
			o := options{kernel: "6.1", vcpus: vcpus}
			v, e := bootGuarded(t, gd, o)
			stands := true // the guest, and can be asked for more
			check := func(name string, do func()) {
				t.Run(name, func(t *testing.T) {
					if !stands {
						t.Skip("a check before this one has left the guest unusable")
					}
					v.t, stands = t, false
					do()
					stands = true
				})
				v.t = t
			}
			check("boot", func() { v.expectHealthy(o); expectNoDenial(v.t, e) })
			check("signatures", func() { v.expectCases(e, "6.1") })
			check("hits", func() { v.makeHits(vcpus, least); reportHits(e, vcpus) })
			check("unsigned", v.tryUnsigned)
			check("pause", func() { v.expectPauses(gd) })
			check("kill", func() { v.expectFailClosed(gd) })
			check("attacks", func() { v.bypass(gd, v.enforcer) })
		})
	}
}

// makeHits has every virtual CPU of the guest execute new files until there are so many hits.
func (v *vm) makeHits(vcpus, least int) {
	v.t.Helper()
	for before := -1; ; {
		n := v.enforcer.hits()
		if n >= least {
			return
		}
		if n == before {
			v.fatal("new files make no hits")
		}
		before = n
		v.expect(0, fmt.Sprintf("for cpu in $(seq %d); do for i in $(seq 25); do f=/root/m$cpu-$i; rm -f $f; probe copy /opt/t/program/good $f && $f; done & done >/dev/null; wait", vcpus))
	}
}

// reportHits prints how many hits there were, and the enforcer's own time in us for those that are a verdict about a signature.
func reportHits(e *enforcer, vcpus int) {
	var times []float64
	for _, r := range e.records() {
		if r.Hook == "integrity_digsig_verify" && (r.Verdict == "allow" || r.Verdict == "deny") {
			times = append(times, float64(r.Spent.all())/float64(time.Microsecond))
		}
	}
	fmt.Printf("row %d %d %d %.0f %.0f %.0f\n", vcpus, e.hits(), len(times), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1))
}
