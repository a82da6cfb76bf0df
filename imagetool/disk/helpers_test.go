package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
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
	loop    = disktest.Loop
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
	l := layout(t, path, 0)
	if r := l.Refused(AnyVolume); r != nil {
		t.Fatal(r)
	}
	return l
}

// layout may be refused.
func layout(t testing.TB, path string, sectorSize int) *Layout {
	t.Helper()
	l, err := Detect(device(t, path), sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// partition is what another reader of tables says of one.
type partition struct {
	ID          volume.ID
	Start, Size int64
}

// partx asks libblkid for the partitions that can hold something.
func partx(t testing.TB, path string, sectorSize int) (list []partition) {
	t.Helper()
	args := []string{"--show", "--noheadings", "--output", "NR,START,SECTORS,TYPE", "--sector-size", strconv.Itoa(sectorSize), path}
	out, err := exec.Command(tool(t, "partx"), args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !strings.Contains(string(exit.Stderr), "failed to read partition table")) {
		t.Fatalf("partx: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		var p partition
		var number int
		var size uint64
		var kind string
		if _, err := fmt.Sscan(line, &number, &p.Start, &size, &kind); err != nil {
			t.Fatalf("partx: %q: %v", line, err)
		}
		if kind == "0x5" || kind == "0xf" || kind == "0x85" {
			continue
		}
		p.ID = volume.Partition(number)
		p.Start, p.Size = p.Start*512, int64(size)*512 // negative where one ends before it begins
		list = append(list, p)
	}
	return list
}

// partitions are those of a layout.
func partitions(l *Layout) (list []partition) {
	for _, v := range l.Volumes {
		list = append(list, partition{v.ID, v.Start, v.Size})
	}
	return list
}
