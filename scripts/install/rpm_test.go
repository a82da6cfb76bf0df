package install

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestRPM asks rpm about the packages, installs them into an empty folder, and has rpm compare what lies there.
func TestRPM(t *testing.T) {
	r := theRelease(t, "rpm")
	signing, enforcing := r.file(t, "vmseal-[0-9]*.rpm"), r.file(t, "vmseal-enforcer-[0-9]*.rpm")
	for path, wanted := range map[string][]string{
		signing: {"/usr/bin/imagetool", "/usr/bin/signer", "/usr/share/man/man1/imagetool-sign.1", "/usr/share/bash-completion/completions/imagetool",
			"/usr/share/vmseal/rules/fedora.rules", "/usr/share/vmseal/policies/default.policy", "/usr/share/doc/vmseal/sbom.cdx.json"},
		enforcing: {"/etc/vmseal", "/usr/bin/enforcer", "/usr/lib/systemd/system/enforcer@.service", "/usr/lib/systemd/system/enforcer-xen@.service",
			"/usr/share/man/man8/enforcer-run.8", "/usr/share/bash-completion/completions/enforcer", "/usr/share/doc/vmseal-enforcer/LICENSE"},
	} {
		files := strings.Fields(run(t, exec.Command("rpm", "-qpl", path)))
		for _, name := range wanted {
			if !slices.Contains(files, name) {
				t.Errorf("%s lacks %s", path, name)
			}
		}
		for _, name := range files {
			if slices.Contains([]string{"/usr", "/usr/bin", "/usr/lib", "/usr/share", "/etc"}, name) {
				t.Errorf("%s owns %s", path, name)
			}
		}
		for line := range strings.Lines(run(t, exec.Command("rpm", "-qp", "--requires", path))) {
			if !strings.HasPrefix(line, "rpmlib(") {
				t.Errorf("%s requires %s", path, line)
			}
		}
		if scripts := run(t, exec.Command("rpm", "-qp", "--scripts", path)); strings.TrimSpace(scripts) != "" {
			t.Errorf("%s runs something:\n%s", path, scripts)
		}
		for tag, want := range map[string]string{"VERSION": version(t), "LICENSE": "Apache-2.0", "ARCH": "x86_64", "BUILDHOST": "localhost"} {
			if got := run(t, exec.Command("rpm", "-qp", "--queryformat", "%{"+tag+"}", path)); got != want {
				t.Errorf("%s: %s is %q, want %q", path, tag, got, want)
			}
		}
	}
	if got := run(t, exec.Command("rpm", "-qp", "--recommends", signing)); !strings.Contains(got, "/usr/bin/qemu-storage-daemon") {
		t.Errorf("recommends %q", got)
	}
	root := bed.Dir(t)
	run(t, exec.Command("rpm", "--root", root, "--install", signing, enforcing))
	if out, err := exec.Command("rpm", "--root", root, "--verify", "vmseal", "vmseal-enforcer").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("rpm --verify: %v\n%s", err, out)
	}
	if got := run(t, exec.Command(filepath.Join(root, "usr/bin/signer"), "--version")); !strings.HasPrefix(got, "signer "+version(t)+", ") {
		t.Errorf("%s", got)
	}
}
