package container

import (
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

const mib = disktest.MiB

var (
	poke = disktest.Poke
	peek = disktest.Peek
)

// create has qemu-img make an image of 16 MiB.
func create(t testing.TB, name, format string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args := []string{"create", "-q", "-f", format}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	disktest.Run(t, "", "qemu-img", append(args, path, "16M")...)
	return path
}

func open(t testing.TB, path string) *hostfile.File {
	t.Helper()
	f, err := hostfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// openContainer opens an image that is not refused.
func openContainer(t testing.TB, path string, backing ...string) *Container {
	t.Helper()
	c, err := Open(open(t, path), "", backing)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
