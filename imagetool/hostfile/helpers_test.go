package hostfile

import (
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

const mib = disktest.MiB

var (
	tool        = disktest.Tool
	unavailable = disktest.Unavailable
	run         = disktest.Run
	sparse      = disktest.Sparse
	poke        = disktest.Poke
	data        = disktest.Data
	sum         = disktest.Sum
	extDisk     = disktest.ExtDisk
	loop        = disktest.Loop
)

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
