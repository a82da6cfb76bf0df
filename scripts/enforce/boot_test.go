package enforce

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPlainBoot boots without any enforcement: that the bed works, and that each of the cases would run.
func TestPlainBoot(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, o := range []options{{kernel: "6.1"}, {kernel: "6.12", vcpus: 2}} {
		t.Run(o.String(), func(t *testing.T) {
			t.Parallel()
			o.guest = g
			begin := time.Now()
			v := boot(t, o)
			t.Logf("ready after %v", time.Since(begin).Round(100*time.Millisecond))
			v.expectHealthy(o)
			for _, k := range g.kindsFor(o.kernel) {
				for _, c := range signatureCases {
					v.expect(0, k.use(c.name))
				}
			}
		})
	}
}

// TestGuardedBoot boots to multi-user.target under enforcement: nothing may be denied.
func TestGuardedBoot(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, o := range []options{
		{kernel: "6.1", dracut: true},
		{kernel: "6.1", readonly: true, cmdline: "kaslr"},
		{kernel: "6.12", vcpus: 2},
	} {
		t.Run(o.String(), func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			v, e := bootGuarded(t, newGuard(t, g, o.kernel), o)
			t.Logf("ready after %v, %s, %d flushes", time.Since(begin).Round(100*time.Millisecond), tally(e.records()), v.flushes())
			v.expectHealthy(o)
			expectNoDenial(t, e)
			first := func(r record) bool {
				return r.Verdict == "allow" && r.Func == "BPRM_CHECK" && r.Digest != "" && r.Path == "/usr/lib/systemd/systemd"
			}
			if !slices.ContainsFunc(e.records(), first) {
				t.Error("process 1 was not verified")
			}
		})
	}
}

func (o options) String() string {
	words := []string{o.kernel}
	for word, is := range map[string]bool{"dracut": o.dracut, "readonly": o.readonly} {
		if is {
			words = append(words, word)
		}
	}
	if o.vcpus > 1 {
		words = append(words, fmt.Sprintf("%d vcpus", o.vcpus))
	}
	if o.cmdline != "" {
		words = append(words, o.cmdline)
	}
	return strings.Join(words, ", ")
}

// expectHealthy looks whether the guest is what it should be, and whether systemd is content.
func (v *vm) expectHealthy(o options) {
	v.t.Helper()
	if out := v.expect(0, "uname -r; nproc"); out != fmt.Sprintf("%s\n%d\n", v.guest.kernels[o.kernel].release, max(o.vcpus, 1)) {
		v.t.Errorf("uname -r; nproc: %s", out)
	}
	if out := v.expect(0, "systemctl --failed --no-legend --plain"); out != "" {
		v.t.Errorf("units failed:\n%s", out)
	}
	want := 0
	if o.readonly {
		want = 1
	}
	v.expect(want, "touch /usr/written")
	v.expect(0, "touch /var/written /tmp/written /run/written")
}

func expectNoDenial(t *testing.T, e *enforcer) {
	t.Helper()
	if d := denials(e.records()); len(d) > 0 {
		t.Errorf("denied:\n%s", strings.Join(d, "\n"))
	}
}

// tally says what a boot cost: every hit, and how many of them were for files of the initramfs.
func tally(records []record) string {
	hits, initial := 0, 0
	for _, r := range records {
		if r.Type == "hit" {
			hits++
		}
		if r.Reason == "file of the initramfs" {
			initial++
		}
	}
	return fmt.Sprintf("%d hits, %d of them in the initramfs", hits, initial)
}
