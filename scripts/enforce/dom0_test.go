package enforce

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// dom0Env is set where this test runs in dom0, to the type of the guests, pv or pvh.
const dom0Env = "VMSEAL_ENFORCE_DOM0"

var dom0 = os.Getenv(dom0Env)

// jobDir is where dom0 has the files that came with the test.
const jobDir = "/job"

// testPlainDomain boots without any enforcement: that the bed works, and that each of the cases would run.
func testPlainDomain(t *testing.T) {
	d := createDomain(t, 2, "initrd", "")
	xl(t, "unpause", d.name)
	d.awaitAgent()
	d.expectVCPUs(2)
	d.expect(0, loadHypercalls+" && test -c /dev/xen/privcmd")
	for _, k := range kindsOf(map[string]kernel{"6.1": {}}) {
		for _, c := range signatureCases {
			d.expect(0, k.use(c.name))
		}
	}
}

func (d *domain) expectVCPUs(n int) {
	d.t.Helper()
	if out := d.expect(0, "uname -r; nproc"); !strings.HasPrefix(out, "6.1.") || !strings.HasSuffix(out, fmt.Sprintf("\n%d\n", n)) {
		d.t.Errorf("uname -r; nproc: %s", out)
	}
}

// domain is a vm that Xen runs.
type domain struct {
	vm
	name string
}

// createDomain makes a domain that has not run yet. It ends with the test.
func createDomain(t *testing.T, vcpus int, initrd, cmdline string) *domain {
	t.Helper()
	dir := bed.Dir(t)
	d := &domain{vm: vm{t: t, dir: dir, console: newStream(), log: newStream()}, name: filepath.Base(dir)}
	d.address = "xen:" + d.name
	config := fmt.Sprintf("name=%q\ntype=%q\nkernel=%q\nramdisk=%q\nextra=%q\nmemory=256\nvcpus=%d\ndisk=[%q]\non_crash=%q\non_reboot=%q\n",
		d.name, dom0, jobDir+"/vmlinuz", jobDir+"/"+initrd, strings.TrimSpace("console=hvc0 loglevel=1 "+cmdline), vcpus,
		"phy:/dev/vda,xvda,r", "preserve", "destroy")
	file := filepath.Join(dir, "config")
	must(t, os.WriteFile(file, []byte(config), 0o644))
	xl(t, "create", "-p", file)
	t.Cleanup(func() { bed.Peer("xl", "destroy", d.name).Run() })
	d.openConsole()
	return d
}

func xl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := bed.Output(bed.Peer("xl", args...))
	must(t, err)
	return string(out)
}

// openConsole opens the terminal of the guest's console, of which xenconsoled says in the store where it is.
func (d *domain) openConsole() {
	d.t.Helper()
	// The store's entry comes soon after the domain, and nothing else tells of it.
	id := strings.TrimSpace(xl(d.t, "domid", d.name))
	var path string
	for begin := time.Now(); path == ""; time.Sleep(10 * time.Millisecond) {
		if out, err := bed.Output(bed.Peer("xenstore-read", "/local/domain/"+id+"/console/tty")); err == nil {
			path = strings.TrimSpace(string(out))
		}
		if time.Since(begin) > hostLimit {
			d.t.Fatalf("the domain %s has no console", d.name)
		}
	}
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(d.t, err)
	d.t.Cleanup(func() { tty.Close() })
	d.agent = tty
	d.answers = bufio.NewReader(io.TeeReader(tty, d.console))
}

// awaitAgent waits for the guest's agent. What comes before it are messages of the kernel. It gives up early if the
// enforcer ends.
func (d *domain) awaitAgent() {
	d.t.Helper()
	ready := make(chan struct{})
	defer close(ready)
	if d.enforcer != nil {
		go func() {
			select {
			case <-d.enforcer.exited:
				d.agent.(io.Closer).Close()
			case <-ready:
			}
		}()
	}
	for {
		switch line := d.answer(bootLimit); {
		case strings.TrimSpace(line) == "READY":
			return
		case strings.Contains(line, "Kernel panic"):
			d.fatal("%s", line)
		}
	}
}
