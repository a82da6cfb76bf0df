package output

import (
	"context"
	"testing"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

const mib = disktest.MiB

var (
	unavailable = disktest.Unavailable
	run         = disktest.Run
	sparse      = disktest.Sparse
	poke        = disktest.Poke
	data        = disktest.Data
	sum         = disktest.Sum
	gptDisk     = disktest.GPTDisk
	extDisk     = disktest.ExtDisk
	loop        = disktest.Loop
)

func open(t testing.TB, path string) *hostfile.File {
	t.Helper()
	in, err := hostfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

// secondOf is the second partition of an image.
func secondOf(t testing.TB, in *hostfile.File) disk.Volume {
	t.Helper()
	l, err := disk.Detect(in, 0)
	if err != nil || len(l.Problems) > 0 {
		t.Fatal(l, err)
	}
	return l.Volumes[1]
}

func stage(t testing.TB, in *hostfile.File, out string, force bool) *Staged {
	t.Helper()
	s, err := Stage(context.Background(), in, out, force, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort() })
	return s
}
