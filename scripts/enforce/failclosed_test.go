package enforce

import (
	"fmt"
	"strings"
	"testing"
)

// TestFailClosed kills the enforcer in the middle: the guest freezes at its next appraisal, whatever an operator tries,
// until another enforcer answers.
func TestFailClosed(t *testing.T) {
	g := theGuest(t)
	for _, vcpus := range []int{1, 2} {
		t.Run(fmt.Sprint(vcpus), func(t *testing.T) {
			gd := newGuard(t, g, "6.1")
			v, e := bootGuarded(t, gd, options{vcpus: vcpus})
			v.expect(0, "probe copy /opt/t/program/good /root/a && probe copy /opt/t/program/good /root/b")
			e.kill()
			v.expect(0, "echo nothing new is executed: the guest runs")
			v.send("/root/a & /root/b & wait; /opt/t/program/unsigned")
			v.awaitFrozen()
			v.cont()
			v.awaitFrozen()
			e = startEnforcer(t, v, gd)
			if out, code := v.result(); code != 126 {
				t.Errorf("exit code %d, want 126:\n%s", code, out)
			}
			v.expect(0, "/opt/t/program/good")
			v.kill()
			e.awaitExit(0)
		})
	}
}

// TestOtherKernel gives the enforcer the profile of another kernel.
func TestOtherKernel(t *testing.T) {
	g := theGuest(t)
	gd, other := newGuard(t, g, "6.1"), newGuard(t, g, "6.12")
	gd.profile = other.profile
	v, e := bootGuarded(t, gd, options{noWait: true})
	e.awaitExit(4)
	v.awaitFrozen()
	if said := e.log.String(); !strings.Contains(said, "not the profile's") {
		t.Error(said)
	}
}
