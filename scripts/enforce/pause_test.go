package enforce

import (
	"syscall"
	"testing"
	"time"
)

func (v *vm) paused() bool { return v.monitor("info status") == "VM status: paused\r\n" }

// pause stops the guest as its host does. QEMU ignores that for a guest that stands at a hit or a heartbeat.
func (v *vm) pause() {
	v.t.Helper()
	for end := time.Now().Add(hostLimit); ; time.Sleep(time.Millisecond) {
		v.qmp.do("stop", nil)
		if v.paused() {
			time.Sleep(time.Second) // a heartbeat is over by then
			if v.paused() {
				return
			}
		}
		if time.Now().After(end) {
			v.fatal("the guest is not paused")
		}
	}
}

// TestHostPauses: see expectPauses.
func TestHostPauses(t *testing.T) {
	t.Parallel()
	gd := newGuard(t, theGuest(t), "6.1")
	v, _ := bootGuarded(t, gd, options{vcpus: 2})
	v.expectPauses(gd)
	v.kill()
	v.enforcer.awaitExit(0)
}

// expectPauses: a guest that its host pauses and continues goes on guarded, and by itself; also if the enforcer is killed
// meanwhile and another takes over.
func (v *vm) expectPauses(gd *guard) {
	v.t.Helper()
	for n := range 6 {
		v.pause()
		if n%3 == 2 {
			v.enforcer.end(syscall.SIGKILL)
			if !startEnforcer(v.owner, v, gd).log.await("took over", hostLimit) {
				v.fatal("the enforcer does not take over")
			}
		}
		if !v.paused() {
			v.t.Fatalf("the host has paused the guest: %s", v.monitor("info status"))
		}
		v.cont()
		if n%3 == 1 { // twice in a row
			v.pause()
			v.cont()
		}
		v.expect(126, "/opt/t/program/unsigned")
		v.expect(0, "/opt/t/program/good")
	}
}
