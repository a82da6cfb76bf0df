package xen

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// kernelFacts describe the kernel of the domains.
type kernelFacts struct {
	hold   uint64
	code   []byte
	hook   uint64 // of security_bprm_check, which every execution calls
	upcall uint64
}

// bed returns the directory in dom0 with the domains' files: vmlinuz, its profile and
// guest.cpio.gz.
func bed(t *testing.T) (dir string, k kernelFacts) {
	t.Helper()
	dir = os.Getenv("VMSEAL_XEN_BED")
	if dir == "" {
		t.Skip("not in the dom0 that scripts/xen-test boots (VMSEAL_XEN_BED is not set)")
	}
	text, err := os.ReadFile(filepath.Join(dir, "profile"))
	if err != nil {
		t.Fatal(err)
	}
	var p profile.Profile
	lines := strings.SplitN(string(text), "\n", 3)
	if err := json.Unmarshal([]byte(lines[1]), &p); err != nil {
		t.Fatal(err)
	}
	return dir, kernelFacts{p.Hold.Address, p.Hold.Code, p.Hooks["security_bprm_check"].Address, p.Variables.XenVCPUInfo}
}

// domain is a domain that was created paused.
type domain struct {
	t    *testing.T
	name string
	log  string
}

func newDomain(t *testing.T, dir string, lines ...string) *domain {
	t.Helper()
	d := &domain{t: t, name: strings.ToLower(strings.NewReplacer("/", "-", "_", "").Replace(t.Name()))}
	d.log = "/var/log/xen/console/guest-" + d.name + ".log"
	config := filepath.Join(os.TempDir(), d.name)
	text := fmt.Sprintf("name=%q\nkernel=%q\nramdisk=%q\non_crash=\"preserve\"\n%s\n",
		d.name, filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "guest.cpio.gz"), strings.Join(lines, "\n"))
	for _, usual := range []string{`extra="console=hvc0 panic=0"`, `on_reboot="destroy"`, "memory=192"} {
		if key, _, _ := strings.Cut(usual, "="); !strings.Contains(text, key+"=") {
			text += usual + "\n"
		}
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.xl("create", "-p", config)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(d.log)
			t.Logf("console:\n%s", text[max(0, len(text)-9000):])
		}
		_ = exec.Command("xl", "destroy", d.name).Run()
		_ = os.Remove(d.log)
	})
	return d
}

func (d *domain) xl(args ...string) string {
	d.t.Helper()
	out, err := exec.Command("xl", args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("xl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// said waits until the guest has printed a text on its console the given number of times.
func (d *domain) said(what string, times int) {
	d.t.Helper()
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if text, _ := os.ReadFile(d.log); strings.Count(string(text), what) >= times {
			return
		}
	}
	d.t.Fatalf("the guest has not printed %q %d times", what, times)
}

// held opens a domain and lets it run to where its functions can be trapped.
func (d *domain) held(k kernelFacts, o Options) *Guest {
	d.t.Helper()
	o.Upcall = k.upcall
	g, err := Open(d.name, o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { g.Close() })
	d.t.Log(g.Chosen())
	if fresh, err := g.Fresh(); !fresh || err != nil {
		d.t.Fatalf("fresh: %v, %v", fresh, err)
	}
	begin := time.Now()
	if err := g.Hold(k.hold, k.code); err != nil {
		d.t.Fatal(err)
	}
	d.t.Logf("held after %v", time.Since(begin))
	return g
}

// denied returns the answer of a function that denies.
func denied(g *Guest, s *guest.Stop) (guest.Answer, error) {
	var back [8]byte
	r := []*guest.Range{{Addr: s.Regs.RSP, Buf: back[:]}}
	if err := errors.Join(g.Read(s.VCPU, r), r[0].Err); err != nil {
		return guest.Answer{}, err
	}
	return guest.Answer{Return: true, RAX: ^uint64(13) + 1, RIP: le.Uint64(back[:]), RSP: s.Regs.RSP + 8}, nil
}

// passed returns the answer that lets the function run.
func passed(s *guest.Stop) guest.Answer { return guest.Answer{RIP: s.Regs.RIP + 5} }

// timeout is longer than anything that the guest does.
const timeout = 5 * time.Minute

// serve answers n hits.
func serve(t *testing.T, g *Guest, n int, deny bool) {
	t.Helper()
	before := g.calls
	for range n {
		s, err := g.Run(timeout)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Hit {
			all, err := g.VCPUs()
			t.Fatalf("no hit: %+x, %v", all, err)
		}
		a := passed(&s)
		if deny {
			if a, err = denied(g, &s); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Answer(&s, a); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d hits, %d hypercalls", n, g.calls-before)
}

// config returns the type of guest that this Xen was booted for.
func config() []string {
	if os.Getenv("VMSEAL_XEN_GUEST") == "pvh" {
		return []string{`type="pvh"`}
	}
	return []string{`type="pv"`}
}

// pv reports whether the guests are PV guests.
func pv() bool { return strings.Contains(config()[0], `"pv"`) }

// forms are the machines that the tests use.
var forms = map[string][]string{
	"1 vCPU":  {"vcpus=1"},
	"2 vCPUs": {"vcpus=2", `extra="console=hvc0 panic=0 smp"`},
}

// planted returns a domain with a trap at its hook.
func planted(t *testing.T, form []string) (*domain, *Guest, kernelFacts) {
	t.Helper()
	dir, k := bed(t)
	d := newDomain(t, dir, append(config(), form...)...)
	g := d.held(k, Options{})
	if err := g.Plant([]uint64{k.hook}); err != nil {
		t.Fatal(err)
	}
	return d, g, k
}

// again opens a domain in which another process has set traps.
func (d *domain) again(k kernelFacts) *Guest {
	d.t.Helper()
	g, err := Open(d.name, Options{Upcall: k.upcall})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { g.Close() })
	if fresh, err := g.Fresh(); fresh || err != nil {
		d.t.Fatalf("fresh: %v, %v", fresh, err)
	}
	found, err := g.Adopt([]uint64{k.hook, k.hook + 64})
	if err != nil || !slices.Equal(found, []uint64{k.hook}) {
		d.t.Fatalf("traps at %x, %v", found, err)
	}
	if err := g.Plant([]uint64{k.hook}); err != nil {
		d.t.Fatal(err)
	}
	return g
}

// count returns how often the guest has printed a text.
func (d *domain) count(what string) int {
	text, _ := os.ReadFile(d.log)
	return strings.Count(string(text), what)
}

// TestAnswers: hits are answered in both ways. After Release the kernel's code is as before, and
// the guest runs.
func TestAnswers(t *testing.T) {
	d, g, k := planted(t, forms["2 vCPUs"]) // TestCost has one
	serve(t, g, 10, false)
	d.said("ran", 5)
	serve(t, g, 20, true)
	d.said("denied", 15)
	serve(t, g, 10, false)
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	g.err = nil // to read the guest once more
	g.dropStale()
	if err := g.expect(g.traps[k.hook], k.hook, nop); err != nil {
		t.Error(err)
	}
	g.err = errGone
	d.said("ran", d.count("ran")+10)
	if _, err := g.Run(0); err == nil {
		t.Error("a released guest is still guarded")
	}
}

// TestTakeOver: a guest whose enforcer is gone stops at the next hit. The next enforcer gets that
// hit, also if it was a hit that was not answered.
func TestTakeOver(t *testing.T) {
	if pv() {
		t.Skip("TestKilled tests more")
	}
	d, g, k := planted(t, forms["2 vCPUs"]) // TestKilled has one
	serve(t, g, 5, false)
	g.Close()
	for _, pending := range []bool{false, true} {
		g = d.again(k)
		serve(t, g, 10, false)
		before := d.count("GUEST")
		serve(t, g, 10, true)
		d.said("GUEST", before+5)
		if pending {
			if s, err := g.Run(timeout); err != nil || !s.Hit {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		g.Close()
	}
	before := d.silent() // without an enforcer each processor reaches the trap once more and stops
	g = d.again(k)
	serve(t, g, 10, false)
	d.said("GUEST", before+5)
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	d.said("ran", d.count("ran")+10)
}

// silent waits until the guest prints nothing any more, and returns how often it has printed. It
// listens for a while in which a running guest prints many lines.
func (d *domain) silent() (times int) {
	d.t.Helper()
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		before := d.count("GUEST")
		time.Sleep(2 * time.Second)
		if d.count("GUEST") == before {
			return before
		}
	}
	d.t.Fatal("the guest runs without an enforcer")
	return 0
}

// TestByHand: pausing and unpausing the domain changes nothing, and destroying it ends the guest.
func TestByHand(t *testing.T) {
	d, g, _ := planted(t, forms["1 vCPU"])
	serve(t, g, 5, false)
	d.xl("pause", d.name)
	if s, err := g.Run(time.Second); err == nil && s.Hit {
		t.Log("a hit was pending")
		if err := g.Answer(&s, passed(&s)); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	d.xl("unpause", d.name)
	serve(t, g, 10, false)
	ended := make(chan error, 1)
	go func() { ended <- exec.Command("xl", "destroy", d.name).Run() }()
	for {
		s, err := g.Run(timeout)
		if errors.Is(err, guest.ErrEnded) {
			break
		}
		if err == nil && s.Hit {
			err = g.Answer(&s, passed(&s))
		}
		if err != nil && !errors.Is(err, guest.ErrEnded) {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNoDebugging: a Xen without debugging calls is refused, and the guest is left untouched.
func TestNoDebugging(t *testing.T) {
	dir, _ := bed(t)
	if os.Getenv("VMSEAL_XEN_GUEST") != "pvh" {
		t.Skip("this Xen has the debugging calls")
	}
	d := newDomain(t, dir, `type="pv"`)
	g, err := Open(d.name, Options{})
	if err == nil || !strings.Contains(err.Error(), "CONFIG_GDBSX") {
		t.Fatalf("%v, %v", g, err)
	}
	d.untouched()
}

// untouched checks that a domain is still paused as it was created, and runs when it is unpaused.
func (d *domain) untouched() {
	d.t.Helper()
	if state := d.xl("list", d.name); !strings.Contains(state, "p-") {
		d.t.Errorf("it is no longer paused:\n%s", state)
	}
	d.xl("unpause", d.name)
	d.said("ran", 5)
}
