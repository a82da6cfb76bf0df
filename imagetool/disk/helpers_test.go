package disk

import (
	"os"
	"testing"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

const mib = disktest.MiB

var (
	tool    = disktest.Tool
	run     = disktest.Run
	sparse  = disktest.Sparse
	ext4At  = disktest.Ext4At
	poke    = disktest.Poke
	peek    = disktest.Peek
	data    = disktest.Data
	sum     = disktest.Sum
	gptDisk = disktest.GPTDisk
	mbrDisk = disktest.MBRDisk
	extDisk = disktest.ExtDisk
)

// device opens a file for the test.
func device(t testing.TB, path string) block.Device {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return hostfile.Device(f, info.Size())
}

// detect is for an image that is not refused.
func detect(t testing.TB, path string) *Layout {
	t.Helper()
	l, refused, err := Detect(device(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if refused != nil {
		t.Fatal(refused)
	}
	return l
}
