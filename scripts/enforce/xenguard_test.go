package enforce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// xenDisk is the guest's disk, as its kernel numbers it (xvda; XENVBD_MAJOR).
const xenDisk = "202:0"

// loadHypercalls has the kernel take hypercalls from user space, by which root could change the kernel's own memory.
const loadHypercalls = "insmod /usr/lib/modules/$(uname -r)/kernel/drivers/xen/xen-privcmd.ko"

// domainGuard is what the host has made for the enforcer in dom0.
func domainGuard(t *testing.T) *guard {
	t.Helper()
	in := func(name string) string { return filepath.Join(jobDir, name) }
	return &guard{kernel: "6.1", dir: jobDir, profile: in("profile"), trust: in("trust.pem"), denied: in("deny"),
		state: filepath.Join(bed.Dir(t), "state")}
}

// bootGuardedDomain creates a domain and its enforcer, which starts it.
func bootGuardedDomain(t *testing.T, gd *guard, vcpus int, initrd, cmdline string, args ...string) (*domain, *enforcer) {
	t.Helper()
	d := createDomain(t, vcpus, initrd, cmdline)
	return d, startEnforcer(t, &d.vm, gd, args...)
}

// testGuardedDomain takes one guest through its life for each number of virtual CPUs.
func testGuardedDomain(t *testing.T) {
	for _, vcpus := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d vcpus", vcpus), func(t *testing.T) {
			gd := domainGuard(t)
			begin := time.Now()
			d, e := bootGuardedDomain(t, gd, vcpus, "initrd-guarded", gd.guarded()+" module_blacklist=xen_privcmd", "--device", xenDisk)
			d.awaitAgent()
			t.Logf("ready after %v, %s", time.Since(begin).Round(100*time.Millisecond), tally(e.records()))
			expectNoDenial(t, e)
			d.expectVCPUs(vcpus)
			trap := map[string]string{"pv": "kind debug", "pvh": "kind monitor str"}[dom0]
			if !strings.Contains(e.log.String(), trap) {
				t.Errorf("the enforcer does not say that it took the %s: %s", trap, e.log)
			}
			for _, k := range kindsOf(map[string]kernel{"6.1": {}}) {
				for _, c := range signatureCases {
					d.expectCase(e, k, c)
				}
			}
			if out := d.expect(1, loadHypercalls); !strings.Contains(out, "not permitted") {
				t.Errorf("%s: %s", loadHypercalls, out)
			}
			d.expectDenied("cp /opt/t/program/good /tmp/copy && /tmp/copy")
			d.expectDenied("probe copy /opt/t/program/good /tmp/labelled && /tmp/labelled")
			e.await(0, "a program in memory", func(r record) bool {
				return r.Path == "/tmp/labelled" && r.Verdict == "deny" && strings.Contains(r.Reason, "on a file system without a disk")
			})
			if vcpus == 2 {
				d.expectReleased(d.expectRecovery(gd, e, vcpus), gd)
				return
			}
			e = d.expectRecovery(gd, e, vcpus)
			d.send("busybox poweroff -f")
			e.awaitExit(0)
			expectSummary(t, e)
		})
	}
}

// expectRecovery kills the enforcer: the guest stands at its next appraisal until another enforcer answers.
func (d *domain) expectRecovery(gd *guard, e *enforcer, vcpus int) *enforcer {
	d.t.Helper()
	n := 0
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		var together strings.Builder
		for range vcpus {
			fmt.Fprintf(&together, "%s & ", spare(n))
			n++
		}
		e.end(sig)
		d.send(together.String() + "wait; /opt/t/program/unsigned")
		d.expectSilence()
		e = startEnforcer(d.t, &d.vm, gd, "--device", xenDisk)
		if out, code := d.result(); code != 126 {
			d.t.Errorf("%v: exit code %d, want 126:\n%s", sig, code, out)
		}
		e.await(0, "the program that nobody had answered for", func(r record) bool { return r.Path == spare(n-1) && r.Verdict == "allow" })
		d.expect(0, "/opt/t/program/good")
	}
	return e
}

// expectReleased lets the guest run unguarded, of which no enforcer says otherwise.
func (d *domain) expectReleased(e *enforcer, gd *guard) {
	d.t.Helper()
	e.end(syscall.SIGKILL)
	_, err := bed.Output(bed.Command("enforcer", "release", "--guest", d.address))
	must(d.t, err)
	d.expectDenied(spare(spares - 1)) // by the kernel itself, which has no key
	e = startEnforcer(d.t, &d.vm, gd, "--device", xenDisk)
	e.awaitExit(4)
	if !strings.Contains(e.log.String(), "without traps") {
		d.t.Errorf("the enforcer says: %s", e.log)
	}
	d.expectPaused()
}

// silence is how long a guest that must not answer is listened to: nothing tells of what does not happen. An answer
// takes it a tenth.
const silence = 3 * time.Second

// answered matches what the guest's agent says, and not the messages of its kernel.
var answered = regexp.MustCompile(`^(READY|[A-Za-z0-9+/=]* [0-9]+)\s*$`)

func (d *domain) expectSilence() {
	d.t.Helper()
	d.agent.SetReadDeadline(time.Now().Add(silence))
	for {
		line, err := d.answers.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			d.fatal("listening to the guest: %v", err)
		case answered.MatchString(line):
			d.fatal("the guest answers while nobody guards it: %q", line)
		}
	}
}

// paused reports what xl says about the domain.
func (d *domain) paused() bool {
	d.t.Helper()
	fields := strings.Fields(xl(d.t, "list", d.name))
	return strings.Contains(fields[len(fields)-2], "p")
}

func (d *domain) expectPaused() {
	d.t.Helper()
	if !d.paused() {
		d.fatal("the guest is not paused: %s", xl(d.t, "list", d.name))
	}
}

// testDomainPosture boots guests in which the enforcer's answers would count for nothing.
func testDomainPosture(t *testing.T) {
	for _, c := range []struct{ name, initrd, cmdline, says string }{
		{"ima_appraise=log", "initrd-guarded", "rdinit=/vmseal-init ima_appraise=log lockdown=integrity", "ima_appraise is"},
		{"no policy", "initrd", "ima_appraise=enforce lockdown=integrity", "no policy is in force"},
		{"foreign rule", "initrd-foreign", "rdinit=/vmseal-init ima_appraise=enforce lockdown=integrity", "rule"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, e := bootGuardedDomain(t, domainGuard(t), 1, c.initrd, c.cmdline)
			e.awaitExit(4)
			d.expectPaused()
			if said := e.log.String(); !strings.Contains(said, c.says) {
				t.Errorf("the enforcer does not say %q:\n%s", c.says, said)
			}
			for d.paused() { // an operator who will not have it
				xl(t, "unpause", d.name)
			}
			d.expectSilence()
		})
	}
}

// expectSummary compares the sums at the end of the audit with its lines.
func expectSummary(t *testing.T, e *enforcer) {
	t.Helper()
	records := e.records()
	if last := records[len(records)-1]; last.Type != "summary" || last.Hits != e.hits() || last.Hits == 0 {
		t.Errorf("the audit has %d hits, and ends with %+v", e.hits(), last)
	}
}
