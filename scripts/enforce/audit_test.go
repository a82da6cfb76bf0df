package enforce

import "testing"

// TestAuditLost gives the enforcer an audit that takes nothing, like a disk that is full: it says so while the guest runs,
// and goes on guarding it.
func TestAuditLost(t *testing.T) {
	t.Parallel()
	v, e := bootGuarded(t, newGuard(t, theGuest(t), "6.1"), options{}, "--audit", "/dev/full")
	if !e.log.await("^warning: audit records are lost, 1 so far: .*no space left on device", hostLimit) {
		v.fatal("the enforcer does not warn")
	}
	v.expect(0, "/opt/t/program/good")
	v.expectDenied("/opt/t/program/unsigned")
}
