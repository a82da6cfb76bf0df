package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestModules compares the list with that of 'go version -m', for this very test program.
func TestModules(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := Package{Name: "test", Version: "1.2.3", License: "Apache-2.0", Date: time.Unix(0, 0), Programs: []string{self}}
	text, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var d document
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "version", "-m", self).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllSubmatch(out, -1) {
		want = append(want, "pkg:golang/"+string(m[1])+"@"+string(m[2]))
	}
	var got []string
	stdlib, program := false, false
	for _, c := range d.Components {
		switch {
		case c.Name == "stdlib":
			stdlib = true
		case c.Type == "application":
			program = c.Name == filepath.Base(self) && len(c.Hashes[0].Content) == 64
		default:
			got = append(got, c.PURL)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) || !stdlib || !program {
		t.Errorf("modules %q, want %q\n%s", got, want, text)
	}
	again, err := p.JSON()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("another text the second time, %v", err)
	}
}

func TestRefuses(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, programs := range [][]string{nil, {script}, {script + "x"}} {
		if _, err := (Package{Name: "test", Programs: programs}).JSON(); err == nil {
			t.Errorf("%q is no error", programs)
		}
	}
}
