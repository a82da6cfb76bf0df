package xen

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPlugged: a vCPU that is plugged in later hits the traps, too, because they are in the guest's
// memory.
func TestPlugged(t *testing.T) {
	d, g, _ := planted(t, []string{"vcpus=1", "maxvcpus=2", `extra="console=hvc0 panic=0 loglevel=1 plugged"`})
	b := book{}
	serve(t, g, 1, false) // the first process
	for range 5 {
		if vcpu := answer(t, g, b, true); vcpu != 0 {
			t.Fatalf("vCPU %d runs, but was not plugged in yet", vcpu)
		}
	}
	d.xl("vcpu-set", "--ignore-host", d.name, "2") // dom0 has fewer itself
	for end := time.Now().Add(timeout); len(b[1]) < 6; {
		if time.Now().After(end) {
			t.Fatal("the vCPU does not reach the trap")
		}
		answer(t, g, b, len(b[1])%2 == 1)
	}
	untilRan(t, g, b)
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	d.checkReleased(b)
}

// TestTooManyVCPUs: a domain that could have more hits at once than the ring has slots is refused
// and left untouched.
func TestTooManyVCPUs(t *testing.T) {
	dir, _ := bed(t)
	if pv() {
		t.Skip("Xen's debugging calls have no ring")
	}
	d := newDomain(t, dir, append(config(), "vcpus=1", fmt.Sprintf("maxvcpus=%d", slots+1))...)
	g, err := Open(d.name, Options{})
	if err == nil || !strings.Contains(err.Error(), "maxvcpus") {
		t.Fatalf("%v, %v", g, err)
	}
	d.untouched()
}
