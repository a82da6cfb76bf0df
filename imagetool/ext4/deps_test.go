package ext4

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImports holds the package to the standard library, without what opens
// sockets or starts programs.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}{{if eq .ImportPath \"net\"}}net{{end}}{{if eq .ImportPath \"os/exec\"}}os/exec{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 || !strings.HasSuffix(got[0], "/imagetool/ext4") {
		t.Errorf("imports %q", got)
	}
}
