package enforce

import (
	"strings"
	"testing"
)

// TestLimits boots guests that never come to where they are guarded.
func TestLimits(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	const posture = " ima_appraise=enforce lockdown=integrity"
	for _, c := range []struct{ name, cmdline, flag, says string }{
		{"without a policy", "rdinit=/bin/sleep" + posture + " -- 100000", "--start-limit", "its IMA policy is not in force"},
		{"in the initramfs", "rdinit=/vmseal-init root=/dev/nowhere rootdelay=100000" + posture, "--initramfs-limit", "only programs of the initramfs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, e := bootGuarded(t, newGuard(t, g, "6.1"), options{cmdline: c.cmdline, readonly: true, noWait: true}, c.flag, "20")
			e.awaitExit(4)
			v.awaitFrozen()
			if said := e.log.String(); !strings.Contains(said, c.says) {
				t.Errorf("the enforcer does not say %q:\n%s", c.says, said)
			}
		})
	}
	t.Run("ended", func(t *testing.T) {
		t.Parallel()
		_, e := bootGuarded(t, newGuard(t, g, "6.1"), options{cmdline: "rdinit=/bin/true" + posture, readonly: true, noWait: true})
		e.awaitExit(4) // of process 1 the kernel panics, and QEMU ends
		if said := e.log.String(); !strings.Contains(said, "ended before its IMA policy was in force") {
			t.Errorf("the enforcer says: %s", said)
		}
		records := e.records()
		if note := records[len(records)-2]; note.Type != "ended" {
			t.Errorf("the audit ends with %+v", records[len(records)-2:])
		}
	})
}
