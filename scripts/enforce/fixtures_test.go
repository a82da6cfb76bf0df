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
			v, e := bootGuarded(t, newGuard(t, g, kernel), options{})
			expectNoDenial(t, e)
			e.await(0, "a warning", func(r record) bool { return r.Type == "warning" && strings.Contains(r.Text, "without --device") })
			for _, r := range e.records() {
				if r.Type == "warning" && strings.Contains(r.Text, "QEMU") {
					t.Errorf("QEMU has the recommended command line, and the enforcer warns: %s", r.Text)
				}
			}
			v.expectCases(e, kernel)
		})
	}
}

// TestLaterKernels does the same with kernels that are newer than those of Debian 12, looks at them all the time, and tries
// what TestBypass tries.
func TestLaterKernels(t *testing.T) {
	t.Parallel()
	g := theNewGuest(t)
	for _, kernel := range laterKernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, kernel)
			v, e := bootGuarded(t, gd, options{vcpus: 2}, "--heartbeat", "1")
			v.expectHealthy(options{kernel: kernel, vcpus: 2})
			expectNoDenial(t, e)
			v.expectCases(e, kernel)
			v.expectInterpreted(e)
			v.awaitStops(4)
			v.bypass(gd, e)
		})
	}
}

// expectInterpreted is an interpreter that asks about its scripts before it reads them, which kernels answer from 6.14 on.
func (v *vm) expectInterpreted(e *enforcer) {
	v.t.Helper()
	for _, c := range signatureCases {
		before := len(e.records())
		path := "/opt/t/script/" + c.name + ".sh"
		out, code := v.run("probe interpret " + path)
		if (code == 0) != c.allowed || !c.allowed && !strings.Contains(out, "EACCES") {
			v.t.Errorf("interpreting %s: exit code %d, allowed should be %v:\n%s", path, code, c.allowed, out)
		}
		if !c.allowed {
			e.await(before, "denying "+path, func(r record) bool { return r.Verdict == "deny" && r.Func == "BPRM_CHECK" && r.Path == path })
		}
	}
}

// expectCases uses every case of each kind that there is for a kernel.
func (v *vm) expectCases(e *enforcer, kernel string) {
	v.t.Helper()
	for _, k := range v.guest.kindsFor(kernel) {
		for _, c := range signatureCases {
			v.expectCase(e, k, c)
		}
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
