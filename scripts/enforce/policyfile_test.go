package enforce

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

const imaPolicy = "/sys/kernel/security/ima/policy"

// policyKernel is one that keeps IMA's file of the policy, to be read and to be written.
func policyKernel(t *testing.T) kernel {
	t.Helper()
	script, err := filepath.Abs("../kernel-policy")
	must(t, err)
	out, err := bed.Output(bed.Peer(script))
	must(t, err)
	image := filepath.Join(bed.Dir(t), "bzImage") // which an ordinary user can read
	must(t, copyTo(image, strings.TrimSpace(string(out))))
	return kernel{image: image}
}

// TestPolicyFile boots kernels that keep IMA's file of the policy: root can read the policy, and nobody can add to it.
func TestPolicyFile(t *testing.T) {
	t.Parallel()
	l := theLean(t)
	k := policyKernel(t)
	start := func(t *testing.T, cmdline string, noWait bool) (*guard, *vm, *enforcer) {
		gd := newGuard(t, l.guest(t, bed.Dir(t), k), "6.1")
		o := options{readonly: true, cmdline: "kind=ext4 " + cmdline, noWait: noWait}
		o.disk, _ = l.image(t, gd.dir, "ext4", "")
		v, e := bootGuarded(t, gd, o, "--device", systemDisk)
		return gd, v, e
	}
	t.Run("guarded", func(t *testing.T) {
		t.Parallel()
		gd, v, e := start(t, "attack=/rules", false)
		// What the initramfs tried while it could do everything else.
		e.await(0, "denying /rules", deniedPolicy("/rules"))
		v.expectPolicyFile(gd, e)
		v.expectLean(e, "/opt", true, "")
		v.expectNoWay()
	})
	// Until a policy is in force, the kernel takes rules from everybody.
	for name, attack := range map[string]string{"a rule": `"` + strings.TrimSpace(anyProgram) + `"`, "a file": "/rules"} {
		t.Run(name+" before the policy", func(t *testing.T) {
			t.Parallel()
			_, v, e := start(t, "rdinit=/init ima_appraise=enforce lockdown=integrity attack="+attack, true)
			e.awaitExit(4)
			v.awaitFrozen()
			if said := e.log.String(); !strings.Contains(said, "rule 1 of the pinned policy is") {
				t.Errorf("the enforcer says: %s", said)
			}
		})
	}
	t.Run("no rule for policies", func(t *testing.T) {
		gd := newGuard(t, l.guest(t, bed.Dir(t), k), "6.1")
		rules, err := os.ReadFile(gd.policy)
		must(t, err)
		must(t, os.WriteFile(gd.policy, []byte(strings.ReplaceAll(string(rules), "appraise func=POLICY_CHECK", "# ")), 0o644))
		keys, err := theKeys()
		must(t, err)
		_, err = bed.Output(bed.AsNobody("imagetool", "profile", "--key", keys.sealed.private, "--policy", gd.policy, k.image, "--out", filepath.Join(gd.dir, "other")))
		if err == nil || !strings.Contains(err.Error(), "POLICY_CHECK") {
			t.Errorf("imagetool profile: %v", err)
		}
	})
}

// deniedPolicy is a line of the audit.
func deniedPolicy(path string) func(r record) bool {
	return func(r record) bool {
		return r.Verdict == "deny" && r.Func == "POLICY_CHECK" && r.Path == path && strings.Contains(r.Reason, "takes no more rules")
	}
}

// expectPolicyFile reads the policy, and tries to add to it.
func (v *vm) expectPolicyFile(gd *guard, e *enforcer) {
	t := v.t
	t.Helper()
	rules, err := os.ReadFile(gd.policy)
	must(t, err)
	var want []string
	for line := range strings.Lines(string(rules)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			want = append(want, line)
		}
	}
	expectRules := func() {
		t.Helper()
		out := v.expect(0, "cat "+imaPolicy)
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the policy in the guest is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	expectRules()
	before := len(e.records())
	if out, code := v.run("echo '" + strings.TrimSpace(anyProgram) + "' >" + imaPolicy); code == 0 || !strings.Contains(out, "ermission denied") {
		t.Errorf("writing a rule: exit code %d: %s", code, out)
	}
	for _, r := range e.records()[before:] {
		if r.Hook == "ima_parse_add_rule" {
			t.Errorf("the kernel has looked at the rule: %+v", r)
		}
	}
	v.expect(0, "cp /etc/rules /tmp/rules")
	for _, path := range []string{"/etc/rules", "/tmp/rules"} { // the first is signed
		before := len(e.records())
		if out := v.expect(1, "probe policy-path "+path); !strings.Contains(out, "EACCES") {
			t.Errorf("adding %s: %s", path, out)
		}
		e.await(before, "denying "+path, deniedPolicy(path))
	}
	expectRules()
}

// expectNoWay tries what guest root has without any trick.
func (v *vm) expectNoWay() {
	v.t.Helper()
	for _, c := range []struct{ command, says string }{
		{"cp /opt/good /tmp/copy && /tmp/copy", "ermission denied"},
		{"probe memfd /opt/good", "EACCES"},
		{"/lib64/ld-linux-x86-64.so.2 /opt/unsigned", "failed to map segment"},
		{"probe mmap-exec /opt/unsigned", "EACCES"},
		{"probe mprotect-exec /opt/unsigned", "EPERM"},
		{"probe kexec-load", "EPERM"},
	} {
		if out, code := v.run(c.command); code == 0 || !strings.Contains(out, c.says) {
			v.t.Errorf("%s: exit code %d, want a failure that says %q:\n%s", c.command, code, c.says, out)
		}
	}
	v.expect(0, "/lib64/ld-linux-x86-64.so.2 /opt/good")
	v.expect(0, "probe mmap-exec /opt/good")
}
