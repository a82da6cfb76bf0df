package formats

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestImports: the packages depend only on the standard library and each other. The test examines
// the import closure without tests, so it notices indirect dependencies, too.
func TestImports(t *testing.T) {
	const ours = "github.com/vmseal/vmseal/formats"
	forbidden := []string{"net", "net/http", "os/exec", "crypto/x509", "plugin", "runtime/cgo"}

	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ours+"/...")
	cmd.Stderr = os.Stderr // the go command may print notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < 10 {
		t.Fatalf("go list names only %d packages:\n%s", len(lines), out)
	}
	for _, line := range lines {
		path, std, _ := strings.Cut(line, " ")
		if std != "true" && path != ours && !strings.HasPrefix(path, ours+"/") {
			t.Errorf("formats imports %s, which is not in the standard library", path)
		}
		for _, bad := range forbidden {
			if path == bad {
				t.Errorf("formats imports %s", path)
			}
		}
	}
}
