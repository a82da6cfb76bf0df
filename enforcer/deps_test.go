package enforcer

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vmseal/vmseal/"

// TestImports lists what each package in this directory may import, directly or not, from this
// module and from others. From this module only formats and keys are allowed.
func TestImports(t *testing.T) {
	const unix = "golang.org/x/sys/unix"
	core := []string{"enforcer/guest", "formats/digsig", "formats/escape", "formats/profile", "keys/trust"}
	allowed := map[string][]string{
		"enforcer":                        core,
		"enforcer/guest":                  nil,
		"enforcer/guest/guesttest":        {"enforcer/guest"},
		"enforcer/xen":                    {"enforcer/guest", unix},
		"enforcer/xen/testdata/testguest": {"golang.org/x/sys/cpu", unix},
		"enforcer/gdbstub":                {"enforcer/guest", unix},
		"enforcer/cmd/enforcer":           append([]string{"enforcer", "enforcer/gdbstub", "enforcer/xen", unix}, core...),
	}
	for _, path := range golist(t, "./...", "./xen/testdata/testguest") {
		name := strings.TrimPrefix(path, module)
		may, ok := allowed[name]
		if !ok {
			t.Errorf("%s is not in the list of this test", name)
			continue
		}
		delete(allowed, name)
		for _, dep := range golist(t, "-deps", path) {
			first, _, _ := strings.Cut(dep, "/")
			dep = strings.TrimPrefix(dep, module)
			if strings.Contains(first, ".") && dep != name && !slices.Contains(may, dep) {
				t.Errorf("%s imports %s", name, dep)
			}
		}
	}
	for name := range allowed {
		t.Errorf("there is no package %s", name)
	}
}

func golist(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

// TestTrustedBase checks the enforcer against its budget of lines, modules and packages.
func TestTrustedBase(t *testing.T) {
	out, err := exec.Command("../scripts/tcb").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "  "+module+"enforcer/cmd/enforcer\n") || !strings.Contains(string(out), "static") {
		t.Error("scripts/tcb did not measure the static enforcer")
	}
}
