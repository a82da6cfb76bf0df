package enforce

import (
	"strings"
	"testing"
)

// TestGuarded boots under enforcement and uses every case of each kind.
func TestGuarded(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, kernel := range []string{"6.1", "6.12"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, kernel)
			v, e := bootGuarded(t, gd, options{})
			expectNoDenial(t, e)
			e.await(0, "a warning", func(r record) bool { return r.Type == "warning" && strings.Contains(r.Text, "without --device") })
			for _, r := range e.records() {
				if r.Type == "warning" && strings.Contains(r.Text, "QEMU") {
					t.Errorf("QEMU has the recommended command line, and the enforcer warns: %s", r.Text)
				}
			}
			for _, k := range kindsFor(kernel) {
				for _, c := range signatureCases {
					v.expectCase(e, k, c)
				}
			}
		})
	}
}

// expectCase uses a case; one that is to be denied must be denied by the guest, and be in the audit with its path.
func (v *vm) expectCase(e *enforcer, k kind, c signatureCase) {
	v.t.Helper()
	before := len(e.records())
	out, code := v.run(k.use(c.name))
	if (code == 0) != c.allowed {
		v.t.Errorf("%s %s: exit code %d, allowed should be %v:\n%s", k.name, c.name, code, c.allowed, out)
	}
	if c.allowed {
		return
	}
	if !strings.Contains(out, k.refused()) {
		v.t.Errorf("%s %s: the guest does not say %q:\n%s", k.name, c.name, k.refused(), out)
	}
	r, _ := e.await(before, "denying "+k.path(c.name), func(r record) bool { return r.Verdict == "deny" && r.Path == k.path(c.name) })
	v.t.Logf("%s %s: %s", k.name, c.name, r.Reason)
}

// refused is what is said in the guest about a file that may not be used.
func (k kind) refused() string {
	if k.name == "library" {
		return "failed to map segment"
	}
	return "ermission denied"
}
