package keys

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestImports: the package imports only the standard library, formats and keys/trust, and nothing
// that opens sockets, runs programs or loads code. The test examines the import closure without
// tests. Package enforcer has a test for the imports of keys/trust.
func TestImports(t *testing.T) {
	const (
		self    = "github.com/vmseal/vmseal/keys"
		formats = "github.com/vmseal/vmseal/formats/"
	)
	forbidden := []string{"net", "net/http", "os/exec", "crypto/x509", "crypto/tls", "plugin", "runtime/cgo"}

	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", self)
	cmd.Stderr = os.Stderr // the go command may print notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "crypto/rsa true\n") || !strings.Contains(string(out), formats) {
		t.Fatalf("go list does not name known imports:\n%s", out)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		path, std, _ := strings.Cut(line, " ")
		if std != "true" && path != self && path != self+"/trust" && !strings.HasPrefix(path, formats) {
			t.Errorf("keys imports %s", path)
		}
		for _, bad := range forbidden {
			if path == bad {
				t.Errorf("keys imports %s", path)
			}
		}
	}
}
