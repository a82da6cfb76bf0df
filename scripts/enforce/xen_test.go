package enforce

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// xenSkipped is the exit code of scripts/xen when it could not run anything.
const xenSkipped = 77

// xenBeds are the two ways to be on Xen: what scripts/xen is told, and the type of the guest.
var xenBeds = map[string][]string{
	"pv":  {"--debug"},
	"pvh": {"--cpu", "qemu64,+svm,+npt"},
}

// dom0Limit is for what runs in dom0, which is done within minutes: what hangs there is to say where before the limits
// outside are over, which only know that nothing comes.
const dom0Limit = 25 * time.Minute

// inDom0 is what dom0 runs.
const inDom0 = `#!/bin/sh
%s=%s TMPDIR=/tmp ./enforce.test -test.v -test.run '^TestXen$' -test.timeout %v -test.skip '%s'
code=$?
[ $code = 0 ] || { xl vcpu-list; xl dmesg | tail -n 30; }
exit $code
`

// TestXen boots Xen for each type of guest, and runs itself there in dom0, where it creates guests with xl.
func TestXen(t *testing.T) {
	if dom0 != "" {
		t.Run("plain", testPlainDomain)
		t.Run("guarded", testGuardedDomain)
		t.Run("posture", testDomainPosture)
		return
	}
	need(t)
	made, err := bed.Output(bed.Peer("../xen-bed"))
	skipWithout(t, err)
	g := makeXenGuest(t, strings.TrimSpace(string(made)))
	files := xenJob(t, g)
	for kind, args := range xenBeds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			job := filepath.Join(bed.Dir(t), "job")
			script := fmt.Sprintf(inDom0, dom0Env, kind, dom0Limit, flag.Lookup("test.skip").Value)
			must(t, os.WriteFile(job, []byte(script), 0o755))
			args := append(args, "--seconds", itoa(int((dom0Limit + bootLimit).Seconds())), "--disk", g.image, job)
			cmd := bed.Peer("../xen", append(args, files...)...)
			var stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &prefixed{prefix: kind + ": "}, &stderr
			if err := cmd.Run(); err != nil {
				err = fmt.Errorf("in dom0: %w\n%s", err, stderr.String())
				skipWithout(t, err)
				t.Error(err)
			}
		})
	}
}

// skipWithout skips the test if there is no Xen to be had, and tells why.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == xenSkipped {
		t.Skip(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " "))
	}
}

// prefixed prints lines as they come: it takes minutes until there are all.
type prefixed struct {
	prefix string
	rest   []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		fmt.Printf("%s%s\n", p.prefix, line)
		p.rest = rest
	}
}

// xenJob makes what dom0 needs: this test's own program, the enforcer and all that it is given, the guest's kernel and initrds.
func xenJob(t *testing.T, g *xenGuest) []string {
	t.Helper()
	gd := newGuard(t, &g.guest, "6.1")
	in := func(name string) string { return filepath.Join(gd.dir, name) }
	program, guarded, foreign := in("enforce.test"), in("initrd-guarded"), in("initrd-foreign")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := bed.Output(build)
	must(t, err)
	must(t, concatenate(guarded, g.initrd, gd.overlay))
	rules, err := os.ReadFile(gd.policy)
	must(t, err)
	must(t, os.WriteFile(in("foreign"), append([]byte("dont_appraise fsmagic=0x9fa0\n"), rules...), 0o644))
	must(t, gd.makeOverlay(in("foreign"), in("foreign.cpio.gz")))
	must(t, concatenate(foreign, g.initrd, in("foreign.cpio.gz")))
	return []string{program, bed.Program("enforcer"), g.kernels["6.1"].image, g.initrd, guarded, foreign,
		gd.profile, gd.trust, gd.denied}
}
