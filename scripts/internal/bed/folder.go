package bed

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Need skips the test where this machine cannot run it: under -short, without root, or without one of the outside tools.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
}

// Folder is the temporary folder of this run. Everybody can look into it.
func Folder() string { return base }

// Dir is a new folder that the unprivileged user owns, removed when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// NewDir is Dir for what outlives one test.
func NewDir() (string, error) {
	dir, err := os.MkdirTemp(base, "t-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, Nobody, Nobody))
}
