package enforce

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestBypass tries, on a writable disk, what guest root could do against the enforcement itself.
func TestBypass(t *testing.T) {
	t.Parallel()
	gd := newGuard(t, theGuest(t), "6.1")
	v, e := bootGuarded(t, gd, options{})
	v.bypass(gd, e)
}

// bypass makes the attempts, each as a test of its own, and ends the guest.
func (v *vm) bypass(gd *guard, e *enforcer) {
	t := v.t
	for _, c := range []struct {
		name string
		try  func(t *testing.T)
	}{
		{"second run makes no hit", func(t *testing.T) {
			v.expect(0, "/opt/t/program/good once")
			before := len(e.records())
			v.expect(0, "/opt/t/program/good twice")
			v.expectDenied("/opt/t/program/unsigned") // whose line comes behind
			_, end := e.await(before, "what was denied", func(r record) bool { return r.Path == "/opt/t/program/unsigned" })
			for _, r := range e.records()[before:end] {
				if r.Path == "/opt/t/program/good" {
					t.Errorf("the second run made a hit: %+v", r)
				}
			}
		}},
		{"keyring _ima of guest root", func(t *testing.T) {
			v.expect(1, "grep -w _ima /proc/keys")
			v.expect(0, "probe ima-keyring "+foreignCert)
			v.expect(0, "grep -w _ima /proc/keys")
			v.expectDenied("/opt/t/program/foreign-key")
		}},
		{"another policy", func(t *testing.T) {
			v.expect(1, "echo 'dont_appraise func=BPRM_CHECK' >/tmp/p && probe policy /tmp/p")
			v.expect(1, "probe policy-path /tmp/p")
			v.expectDenied("/opt/t/program/unsigned")
		}},
		{"signature of another file", func(t *testing.T) {
			v.expectDenied("cp /opt/t/program/good /root/other && echo more >>/root/other && probe label /opt/t/program/good /root/other && /root/other")
		}},
		{"hard link", func(t *testing.T) {
			v.expect(0, "ln /opt/t/program/good /root/link-good && /root/link-good")
			v.expectDenied("ln /opt/t/program/changed /root/link && /root/link")
		}},
		{"rename over a file that was good", func(t *testing.T) {
			v.expect(0, "probe copy /opt/t/program/good /root/name && /root/name")
			v.expectDenied("cp /opt/t/program/changed /root/new && probe label /opt/t/program/changed /root/new && mv /root/new /root/name && /root/name")
		}},
		{"changed after it was good", func(t *testing.T) {
			v.expect(0, "probe copy /opt/t/program/good /root/later && /root/later")
			v.expectDenied("echo more >>/root/later && /root/later")
		}},
		{"changed through a shared mapping", func(t *testing.T) {
			v.expect(0, "probe copy /opt/t/program/good /root/shared")
			if out := v.expect(1, "probe write-exec /root/shared"); !strings.Contains(out, "EACCES") {
				t.Error(out)
			}
		}},
		{"user code that jumps to a trap", func(t *testing.T) {
			behind := "0" // the last digit, of an aligned function
			if gd.kernel != "6.1" {
				behind = "4" // ENDBR64
			}
			for _, hook := range hooks {
				if out := v.expect(0, "probe jump 0x$(grep -wE "+hook+" /proc/kallsyms | cut -d' ' -f1 | sed s/0$/"+behind+"/)"); !strings.Contains(out, "SIGSEGV") {
					t.Errorf("jump to %s: %s", hook, out)
				}
			}
		}},
		{"debugger", func(*testing.T) { v.expectDebugger() }},
		{"vector registers", func(t *testing.T) {
			v.expect(0, "probe vector >/tmp/vector 2>&1 & echo $! >/tmp/vector.pid")
			before := len(e.records())
			for i := range 20 {
				v.expect(0, fmt.Sprintf("probe copy /opt/t/program/good /root/v%d && /root/v%[1]d", i))
			}
			v.expect(0, "kill -0 $(cat /tmp/vector.pid)") // it still adds
			if n := len(e.records()) - before; n < 20 {
				t.Errorf("only %d hits in between", n)
			}
			if out := v.expect(0, "kill $(cat /tmp/vector.pid); tail --pid=$(cat /tmp/vector.pid) -f /dev/null; cat /tmp/vector"); !strings.HasSuffix(out, "done\n") {
				t.Error(out)
			}
		}},
		{"key taken away", func(t *testing.T) {
			keys, err := theKeys()
			must(t, err)
			v.expect(0, "/opt/t/program/second-key")
			must(t, os.Remove(gd.trust))
			must(t, trust(gd.trust, keys.sealed))
			e.process.Signal(syscall.SIGHUP)
			if !e.log.await("1 trusted keys .* in use now", hostLimit) {
				t.Fatalf("nothing was said about SIGHUP: %s", e.log)
			}
			// IMA keeps its result until something about the file changes: here its label, to what it was.
			v.expectDenied("probe label /opt/t/program/second-key /opt/t/program/second-key >/tmp/label && /opt/t/program/second-key")
			v.expect(0, "/opt/t/program/good")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.t, e.v.t = t, t
			c.try(t)
		})
	}
	v.t = t
	v.send("systemctl reboot --force --force")
	e.awaitExit(0) // QEMU has ended instead
	records := e.records()
	if last := records[len(records)-1]; last.Type != "summary" || last.UserJumps != len(hooks) {
		t.Errorf("user code jumped to %d traps, and the audit ends with %+v", len(hooks), last)
	}
}

// hooks are the functions with a trap once the policy is in force.
var hooks = []string{"ima_appraise_measurement", "integrity_digsig_verify", "ima_parse_add_rule", "'blkdev_mmap(_prepare)?'"}

// expectDenied runs a command that must end with the shell's "Permission denied".
func (v *vm) expectDenied(command string) {
	v.t.Helper()
	out, code := v.run(command)
	if code != 126 || !strings.Contains(out, "ermission denied") {
		v.t.Errorf("%s: exit code %d, want 126 and Permission denied:\n%s", command, code, out)
	}
}
