package signer

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vmseal/vmseal/"

// ours lists the packages of this module in the import closure, without tests.
func ours(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pattern).CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	var pkgs []string
	for line := range strings.Lines(string(out)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), module); ok {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

// TestImports says what of this module each package may rest on. The libraries
// know neither private keys nor commands, and nothing here knows about images
// or the enforcer.
func TestImports(t *testing.T) {
	base := []string{"formats/ima", "keys", "signer"}
	commands := append([]string{"keys/certs", "keys/input", "keys/private", "signer/cli"}, base...)
	for pkg, allowed := range map[string][]string{
		"signer":            base,
		"signer/rules":      append([]string{"signer/rules", "keys/input"}, base...),
		"signer/hosttree":   append([]string{"signer/hosttree"}, base...),
		"signer/cli":        commands,
		"signer/cmd/signer": append([]string{"signer/cmd/signer", "signer/hosttree", "signer/rules"}, commands...),
	} {
		got := ours(t, module+pkg)
		if !slices.Contains(got, "signer") {
			t.Errorf("go list does not name what %s surely imports: %v", pkg, got)
		}
		for _, p := range got {
			if !slices.Contains(allowed, p) {
				t.Errorf("%s imports %s", pkg, p)
			}
		}
	}
}
