package enforce

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// guard is what an enforcer needs for one guest.
type guard struct {
	guest                          *guest
	kernel                         string
	dir                            string
	profile, trust, policy, denied string
	state                          string
	overlay                        string // for the initrd
}

// newGuard makes policy, profile, trust store, deny list and overlay, each with the command that is for it.
func newGuard(t *testing.T, g *guest, kernel string) *guard {
	t.Helper()
	keys, err := theKeys()
	must(t, err)
	dir := bed.Dir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	gd := &guard{guest: g, kernel: kernel, dir: dir, profile: in("profile"), trust: in("trust.pem"), policy: in("policy"),
		denied: in("deny"), state: in("state"), overlay: in("overlay.cpio.gz")}
	must(t, trust(gd.trust, keys.sealed, keys.second))
	rules, err := bed.Output(bed.AsNobody("imagetool", "initrd", "--print-policy"))
	must(t, err)
	gd.setPolicy(t, string(rules))
	var digests strings.Builder
	for path, digest := range g.denied {
		fmt.Fprintf(&digests, "# %s\nsha256:%s\n", path, digest)
	}
	must(t, os.WriteFile(gd.denied, []byte(digests.String()), 0o644))
	return gd
}

// setPolicy makes the policy, the profile that pins it, and the overlay that loads it.
func (gd *guard) setPolicy(t *testing.T, rules string) {
	t.Helper()
	keys, err := theKeys()
	must(t, err)
	must(t, os.WriteFile(gd.policy, []byte(rules), 0o644))
	_, err = bed.Output(bed.AsNobody("imagetool", "profile", "--key", keys.sealed.private, "--policy", gd.policy,
		gd.guest.kernels[gd.kernel].image, "--out", gd.profile, "--force"))
	must(t, err)
	must(t, os.Chown(gd.profile, 0, 0))
	must(t, gd.makeOverlay(gd.policy, gd.overlay))
}

// prepare has a guest boot with what 'imagetool prepare' makes of its image.
func (gd *guard) prepare(t *testing.T, o *options) {
	t.Helper()
	keys, err := theKeys()
	must(t, err)
	o.prepared = filepath.Join(gd.dir, "boot")
	must(t, os.Mkdir(o.prepared, 0o755))
	must(t, os.Chown(o.prepared, bed.Nobody, bed.Nobody))
	_, err = bed.Output(bed.AsNobody("imagetool", "prepare", "--key", keys.sealed.private, "--trust", keys.sealed.cert,
		"--kernel", "/boot/vmlinuz-"+gd.guest.kernels[gd.kernel].release, gd.guest.image, "--out", o.prepared))
	must(t, err)
	gd.profile = filepath.Join(o.prepared, "profile")
	for _, name := range []string{"profile", "vmlinuz", "initrd"} {
		must(t, os.Chown(filepath.Join(o.prepared, name), 0, 0))
	}
	words, err := os.ReadFile(filepath.Join(o.prepared, "cmdline"))
	must(t, err)
	o.cmdline = strings.TrimSpace(string(words))
	_, err = bed.Output(bed.Command("enforcer", "check", "--profile", gd.profile, "--trust", gd.trust,
		"--kernel", filepath.Join(o.prepared, "vmlinuz"), "--initrd", filepath.Join(o.prepared, "initrd")))
	must(t, err)
}

func (gd *guard) makeOverlay(policy, to string) error {
	_, err := bed.Output(bed.AsNobody("imagetool", "initrd", "--force", "--policy", policy, "--out", to))
	return err
}

// guarded are the words on the kernel's command line that enforcement needs. Debian 12's kmod hands the compressed
// modules of later kernels over as contents and not as files, which IMA lets pass only if the kernel itself insists on Debian's
// signatures.
func (gd *guard) guarded() string {
	words := "rdinit=/vmseal-init ima_appraise=enforce lockdown=integrity"
	if gd.kernel != "6.1" {
		words += " module.sig_enforce=1"
	}
	return words
}

// enforcer is a running `enforcer run`.
type enforcer struct {
	v       *vm
	process *os.Process
	audit   *stream
	log     *stream // what it says to people
	exited  chan struct{}
	heard   chan struct{} // all of the audit has come
	state   *os.ProcessState
}

// bootGuarded starts a guest stopped, and its enforcer; it waits until the guest is ready unless told not to.
func bootGuarded(t *testing.T, gd *guard, o options, args ...string) (*vm, *enforcer) {
	t.Helper()
	noWait := o.noWait
	o.guest, o.kernel, o.stopped, o.noWait = gd.guest, gd.kernel, true, true
	if o.overlay == "" {
		o.overlay = gd.overlay
	}
	if !strings.Contains(o.cmdline, "rdinit=") {
		o.cmdline = strings.TrimSpace(gd.guarded() + " " + o.cmdline)
	}
	v := boot(t, o)
	e := startEnforcer(t, v, gd, args...)
	if !noWait {
		v.awaitReady()
	}
	return v, e
}

// startEnforcer runs an enforcer on a guest. It ends with the test.
func startEnforcer(t *testing.T, v *vm, gd *guard, args ...string) *enforcer {
	t.Helper()
	e := &enforcer{v: v, audit: newStream(), log: newStream(), exited: make(chan struct{}), heard: make(chan struct{})}
	args = append([]string{"run", "--guest", v.address, "--profile", gd.profile, "--trust", gd.trust,
		"--deny", gd.denied, "--state", gd.state, "--name", "test", "--audit", "/proc/self/fd/3", "--heartbeat", "3"}, append(v.accepted, args...)...)
	cmd := bed.Command("enforcer", args...)
	cmd.Stdout, cmd.Stderr = e.log, e.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	must(t, err)
	cmd.ExtraFiles = []*os.File{w}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // as for QEMU
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			go e.follow(r)
			cmd.Wait()
			e.state = cmd.ProcessState
		}
		close(e.exited)
	}()
	must(t, <-started)
	e.process = cmd.Process
	v.enforcer = e
	t.Cleanup(e.kill)
	return e
}

func (e *enforcer) follow(r io.ReadCloser) {
	defer close(e.heard)
	defer r.Close()
	e.audit.follow(r)
}

// kill is the death that no program can prepare for.
func (e *enforcer) kill() {
	e.process.Kill()
	<-e.exited
}

// awaitExit waits until it ends, and expects the exit code.
func (e *enforcer) awaitExit(code int) {
	e.v.t.Helper()
	select {
	case <-e.exited:
		if got := e.state.ExitCode(); got != code {
			e.v.fatal("the enforcer ended with exit code %d, want %d: %s", got, code, e.log)
		}
	case <-time.After(bootLimit):
		e.v.fatal("the enforcer does not end: %s", e.log)
	}
	<-e.heard
}

// record is one line of the audit.
type record struct {
	Type, Guest, Hook, Func, Path, Digest, Key, Verdict, Reason, Text string
	VCPU                                                              int
	Hits, Allowed, Denied, Passed, Lost                               int
	UserJumps                                                         int   `json:"user_jumps"`
	Spent                                                             spent `json:"spent_ns"`
}

// spent is the enforcer's own time for a hit.
type spent struct{ Registers, Memory, Verify, Answer time.Duration }

func (s spent) all() time.Duration { return s.Registers + s.Memory + s.Verify + s.Answer }

// records gives the audit so far.
func (e *enforcer) records() []record {
	e.v.t.Helper()
	var all []record
	for _, line := range e.audit.lines() {
		all = append(all, e.parse(line))
	}
	return all
}

func (e *enforcer) parse(line []byte) record {
	e.v.t.Helper()
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		e.v.t.Fatalf("audit line %q: %v", line, err)
	}
	return r
}

// await waits for a line of the audit from line number from on, and gives the number of the next line.
func (e *enforcer) await(from int, what string, is func(r record) bool) (record, int) {
	e.v.t.Helper()
	var found record
	var next int
	ok := e.audit.until(commandLimit, func(lines [][]byte) bool {
		for i := from; i < len(lines); i++ {
			if r := e.parse(lines[i]); is(r) {
				found, next = r, i+1
				return true
			}
		}
		return false
	})
	if !ok {
		e.v.fatal("the audit has no line for %s; the enforcer says: %s; audit:\n%s", what, e.log, tail(e.audit.String(), 3000))
	}
	return found, next
}

// denials are the paths and reasons of what was denied.
func denials(records []record) []string {
	var all []string
	for _, r := range records {
		if r.Verdict == "deny" {
			all = append(all, r.Path+": "+r.Func+": "+r.Reason)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
