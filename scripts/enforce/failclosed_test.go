package enforce

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestFailClosed: see expectFailClosed. A guest that was released is taken over by nobody.
func TestFailClosed(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, vcpus := range []int{1, 2} {
		t.Run(fmt.Sprint(vcpus), func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, "6.1")
			v, _ := bootGuarded(t, gd, options{vcpus: vcpus})
			v.expectFailClosed(gd)
			e := v.enforcer
			if vcpus == 1 {
				v.kill()
				e.awaitExit(0)
				return
			}
			// What was released is guarded by nobody, and no enforcer says otherwise.
			e.end(syscall.SIGKILL)
			_, err := bed.Output(bed.Command("enforcer", "release", "--guest", v.address))
			must(t, err)
			v.expect(0, "echo the guest runs")
			e = startEnforcer(t, v, gd)
			e.awaitExit(4)
			if !strings.Contains(e.log.String(), "without traps") {
				t.Errorf("the enforcer says: %s", e.log)
			}
			v.awaitFrozen()
		})
	}
}

// expectFailClosed kills the enforcer in the middle: the guest freezes at its next appraisal, whatever an operator tries,
// until another enforcer answers.
func (v *vm) expectFailClosed(gd *guard) {
	v.t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		v.expect(0, "for f in a b; do rm -f /root/$f; probe copy /opt/t/program/good /root/$f; done")
		v.enforcer.end(sig)
		// Whatever is the next to be appraised: it may be a module that udev loads.
		v.send("/root/a & /root/b & wait; /opt/t/program/unsigned")
		v.awaitFrozen()
		v.cont()
		v.awaitFrozen()
		if sig == syscall.SIGKILL {
			v.expectNotTakenOver(gd)
		}
		startEnforcer(v.owner, v, gd)
		if out, code := v.result(); code != 126 {
			v.t.Errorf("%v: exit code %d, want 126:\n%s", sig, code, out)
		}
		v.expect(0, "/opt/t/program/good")
	}
}

// expectNotTakenOver starts enforcers that ask more of the guest's disk than the one before, which has not looked at that.
func (v *vm) expectNotTakenOver(gd *guard) {
	v.t.Helper()
	accepted := v.accepted
	defer func() { v.accepted = accepted }()
	for _, args := range [][]string{nil, {"--writable", "--device", systemDisk}} {
		v.accepted = args
		e := startEnforcer(v.owner, v, gd)
		e.awaitExit(4)
		if said := e.log.String(); !strings.Contains(said, "saved with another profile, policy, --device, --writable or --no-lockdown") {
			v.t.Errorf("an enforcer with %q says: %s", args, said)
		}
	}
}

// end is a signal that ends the enforcer, and not an exit code.
func (e *enforcer) end(sig syscall.Signal) {
	e.v.t.Helper()
	must(e.v.t, e.process.Signal(sig))
	select {
	case <-e.exited:
	case <-time.After(hostLimit):
		e.v.fatal("the enforcer does not end: %s", e.log)
	}
	if w := e.state.Sys().(syscall.WaitStatus); !w.Signaled() || w.Signal() != sig {
		e.v.t.Errorf("%v ended the enforcer as %v: %s", sig, e.state, e.log)
	}
}

// TestOtherKernel gives the enforcer the profile of another kernel.
func TestOtherKernel(t *testing.T) {
	t.Parallel()
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
