package output

import (
	"path/filepath"
	"testing"
)

// TestScratch: what is written has no name, and lies where the other file does.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	f, err := Scratch(filepath.Join(dir, "disk.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	onlyNames(t, dir)
	if _, err := f.WriteAt([]byte("text"), 100); err != nil {
		t.Error(err)
	}
	if _, err := Scratch(filepath.Join(dir, "missing", "disk.qcow2")); err == nil {
		t.Error("made in a folder that is not there")
	}
}
