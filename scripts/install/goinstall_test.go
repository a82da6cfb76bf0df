package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

const module = "github.com/vmseal/vmseal"

// moduleProxy is a folder in the form of a module proxy (go.dev/ref/mod#goproxy-protocol) with this module alone.
func moduleProxy(t *testing.T, version string) string {
	t.Helper()
	bed.Need(t, "git")
	proxy := bed.Dir(t)
	dir := filepath.Join(proxy, module, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
		"list":            version + "\n",
		version + ".mod":  run(t, exec.Command("git", "-C", top, "show", commit(t)+":go.mod")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command("git", "-C", top, "archive", "--format=zip", "--prefix="+module+"@"+version+"/", "-o", filepath.Join(dir, version+".zip"), commit(t)))
	return proxy
}

// TestGoInstall: 'go install' of a version makes one program, and of everything our three and no helper of the tests. The
// programs know their version without a repository. What else they need comes from where this machine has it already.
func TestGoInstall(t *testing.T) {
	v := "v" + version(t)
	proxy := moduleProxy(t, v)
	cache := strings.TrimSpace(run(t, exec.Command("go", "env", "GOMODCACHE")))
	dir := bed.Dir(t)
	install := func(what string) []string {
		t.Helper()
		bin := filepath.Join(bed.Dir(t), "bin")
		cmd := exec.Command("go", "install", module+"/"+what+"@"+v)
		cmd.Dir = dir // outside the module
		cmd.Env = append(bed.Environment(), "GOBIN="+bin, "GOMODCACHE="+filepath.Join(dir, "mod"), "GOFLAGS=-modcacherw -trimpath", "CGO_ENABLED=0",
			"GOPROXY=file://"+proxy+",file://"+filepath.Join(cache, "cache/download")+",off", "GOSUMDB=off", "GOWORK=off")
		run(t, cmd)
		entries, err := os.ReadDir(bin)
		if err != nil {
			t.Fatal(err)
		}
		var programs []string
		for _, e := range entries {
			programs = append(programs, filepath.Join(bin, e.Name()))
		}
		return programs
	}
	one := install("signer/cmd/signer")
	if len(one) != 1 {
		t.Fatalf("%q", one)
	}
	if got, want := run(t, exec.Command(one[0], "--version")), "signer "+version(t)+", commit unknown, go1."; !strings.HasPrefix(got, want) {
		t.Errorf("%q does not begin with %q", got, want)
	}
	var names []string
	for _, path := range install("...") {
		names = append(names, filepath.Base(path))
		if got := run(t, exec.Command(path, "--version")); !strings.Contains(got, version(t)+", ") {
			t.Errorf("%s", got)
		}
	}
	if want := []string{"enforcer", "imagetool", "signer"}; !slices.Equal(names, want) {
		t.Errorf("everything: %q, want %q", names, want)
	}
}
