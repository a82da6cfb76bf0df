package enforce

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPosture boots guests in which the enforcer's answers would count for nothing: they must be frozen, and it must say
// why.
func TestPosture(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	plain := func(*testing.T, *guard, *options) {}
	loads := func(change func(rules []string) []string) func(*testing.T, *guard, *options) {
		return func(t *testing.T, gd *guard, o *options) {
			text, err := os.ReadFile(gd.policy)
			must(t, err)
			other := filepath.Join(gd.dir, "other")
			must(t, os.WriteFile(other, []byte(strings.Join(change(strings.SplitAfter(string(text), "\n")), "")), 0o644))
			o.overlay = filepath.Join(gd.dir, "other.cpio.gz")
			must(t, gd.makeOverlay(other, o.overlay))
		}
	}
	for _, c := range []struct {
		name, cmdline, says string
		prepare             func(t *testing.T, gd *guard, o *options)
	}{
		{"no lockdown", "rdinit=/vmseal-init ima_appraise=enforce", "not locked down", plain},
		{"ima_appraise=log", "rdinit=/vmseal-init ima_appraise=log", "ima_appraise is", plain},
		{"ima_appraise=fix", "rdinit=/vmseal-init ima_appraise=fix", "ima_appraise is", plain},
		{"no policy", "rdinit=/init ima_appraise=enforce", "no policy is in force", plain},
		{"policy of the kernel", "rdinit=/init ima_appraise=enforce ima_policy=appraise_tcb", "kexec_load_disabled", plain},
		{"one more rule", "rdinit=/vmseal-init ima_appraise=enforce", "rule", loads(func(r []string) []string {
			return append(r[:len(r)-1], "dont_appraise fsmagic=0x9fa0\n")
		})},
		{"foreign rule", "rdinit=/vmseal-init ima_appraise=enforce", "rule", loads(func(r []string) []string {
			return append([]string{"dont_appraise fsmagic=0x9fa0\n"}, r...)
		})},
		{"missing rule", "rdinit=/vmseal-init ima_appraise=enforce", "rules of the pinned", loads(func(r []string) []string { return r[:len(r)-2] })},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, "6.1")
			o := options{cmdline: c.cmdline, noWait: true}
			if c.name != "no lockdown" {
				o.cmdline += " lockdown=integrity"
			}
			c.prepare(t, gd, &o)
			v, e := bootGuarded(t, gd, o)
			e.awaitExit(4)
			v.awaitFrozen()
			if said := e.log.String(); !strings.Contains(said, c.says) {
				t.Errorf("the enforcer does not say %q:\n%s", c.says, said)
			}
			v.cont() // an operator's attempt to go on
			v.awaitFrozen()
		})
	}
}
