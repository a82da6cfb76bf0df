package signer

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vmseal/vmseal/"

// golist gives a line for each package that the go command lists.
func golist(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Stderr = os.Stderr // the go command also has remarks
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestImports says what of this module each package may rest on, directly or
// not. The libraries know neither private keys nor commands, and nothing here
// knows about images or the enforcer.
func TestImports(t *testing.T) {
	base := []string{"formats/digsig", "formats/ima", "keys", "keys/trust"}
	library := append([]string{"signer"}, base...)
	commands := append([]string{"formats/escape", "keys/certs", "keys/input", "keys/keyfile", "keys/private"}, library...)
	allowed := map[string][]string{
		"formats":               nil,
		"formats/escape":        nil,
		"formats/digsig":        nil,
		"formats/ima":           {"formats/digsig"},
		"formats/manifest":      {"formats/digsig", "formats/escape", "formats/ima", "formats/volume"},
		"formats/policy":        nil,
		"formats/profile":       {"formats/digsig"},
		"formats/volume":        nil,
		"keys":                  {"formats/digsig", "formats/ima", "keys/trust"},
		"keys/trust":            {"formats/digsig"},
		"keys/input":            nil,
		"keys/keyfile":          nil,
		"keys/certs":            append([]string{"keys/input", "keys/keyfile"}, base...),
		"keys/private":          append([]string{"keys/input", "keys/keyfile"}, base...),
		"keys/internal/testkit": nil,
		"signer":                base,
		"signer/rules":          append([]string{"keys/input"}, library...),
		"signer/hosttree":       library,
		"signer/cli":            append([]string{"formats/manifest", "formats/profile", "formats/volume", "signer/cli/manpage", "signer/rules"}, commands...),
		"signer/cli/manpage":    nil,
		"signer/cmd/signer":     append([]string{"formats/manifest", "formats/profile", "formats/volume", "signer/cli", "signer/cli/manpage", "signer/hosttree", "signer/rules"}, commands...),
	}
	for _, path := range golist(t, module+"formats/...", module+"keys/...", module+"signer/...") {
		pkg := strings.TrimPrefix(path, module)
		may, ok := allowed[pkg]
		if !ok {
			t.Errorf("what %s may import is not laid down here", pkg)
			continue
		}
		delete(allowed, pkg)
		for _, dep := range golist(t, "-deps", path) {
			if p, ours := strings.CutPrefix(dep, module); ours && p != pkg && !slices.Contains(may, p) {
				t.Errorf("%s imports %s", pkg, p)
			}
		}
	}
	for pkg := range allowed {
		t.Errorf("there is no package %s", pkg)
	}
}

// TestKeyLibraries holds the libraries that read private keys, and all that comes
// with them, to one package.
func TestKeyLibraries(t *testing.T) {
	const format = "{{.ImportPath}} {{join .Imports \" \"}} "
	found := false
	for _, line := range golist(t, "-f", format, module+"...") {
		pkg, imports, _ := strings.Cut(line, " ")
		if !strings.Contains(imports, "github.com/sigstore/") && !strings.Contains(imports, "go-pkcs12") {
			continue
		}
		if pkg != module+"keys/private" {
			t.Errorf("%s imports a library that reads private keys", pkg)
		}
		found = true
	}
	if !found {
		t.Error("go list does not name what keys/private surely imports")
	}
}
