package disk

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
)

// logicalDisk is laid out as Debian's installer does it, with three logical partitions,
// of which partition 6 holds an ext4.
func logicalDisk(t testing.TB) string {
	path := sparse(t, 32*mib)
	run(t, "label: dos\nstart=2048, size=8192, type=83, bootable\nstart=12286, size=53250, type=5\n"+
		"start=12288, size=4096, type=82\nstart=18432, size=16384, type=83\nstart=36864, size=28672, type=83\n", "sfdisk", "-q", path)
	ext4At(t, path, 18432*512, 8*mib)
	return path
}

// wantPartx fails unless libblkid finds the same partitions.
func wantPartx(t *testing.T, path string, l *Layout) {
	t.Helper()
	want := partx(t, path, l.SectorSize)
	if got := partitions(l); !slices.Equal(got, want) {
		t.Errorf("partitions %v, partx sees %v", got, want)
	}
}

func TestLogical(t *testing.T) {
	path := logicalDisk(t)
	l := detect(t, path)
	wantPartx(t, path, l)
	if len(l.Volumes) != 4 || l.Volumes[2].ID != "6" || l.Volumes[2].FS != "ext4" || len(l.Warnings) > 0 {
		t.Errorf("%+v", l)
	}
}

// TestLogicalDeleted takes out the first logical partition, whose record stays, and one
// behind that: the others get new numbers.
func TestLogicalDeleted(t *testing.T) {
	for _, number := range []string{"5", "6", "7"} {
		path := logicalDisk(t)
		run(t, "", "sfdisk", "-q", "--delete", path, number)
		l := detect(t, path)
		wantPartx(t, path, l)
		if len(l.Volumes) != 3 {
			t.Errorf("without %s: %+v", number, l.Volumes)
		}
	}
}

// TestExtendedFirst has the extended partition before a primary one, and in each of the
// types.
func TestExtendedFirst(t *testing.T) {
	for _, kind := range []string{"5", "f", "85"} {
		path := sparse(t, 32*mib)
		run(t, "label: dos\nstart=2048, size=16384, type="+kind+"\nstart=20480, size=2048, type=83\nstart=24576, size=2048, type=83\n"+
			"start=28672, size=2048, type=83\nstart=4096, size=4096, type=83\nstart=10240, size=4096, type=83\n", "sfdisk", "-q", path)
		l := detect(t, path)
		slices.SortFunc(l.Volumes, func(a, b Volume) int { return volume.Compare(a.ID, b.ID) })
		wantPartx(t, path, l)
		if len(l.Volumes) != 5 {
			t.Errorf("type %s: %+v", kind, l.Volumes)
		}
	}
}

// TestLogicalCut leads the chain to where no table is: the kernel stops there. The rest of
// the disk may be missing, so it is said.
func TestLogicalCut(t *testing.T) {
	for name, change := range map[string]func(path string){
		"behind the end": func(path string) { poke(t, path, 18431*512+462+8, []byte{0, 0, 0, 0x7f}) },
		"zeros":          func(path string) { poke(t, path, 36863*512, make([]byte, 512)) },
		"other bytes":    func(path string) { poke(t, path, 36863*512, []byte(strings.Repeat("no table", 64))) },
		"cut image": func(path string) {
			if err := os.Truncate(path, 36863*512); err != nil {
				t.Fatal(err)
			}
		},
	} {
		path := logicalDisk(t)
		change(path)
		l := detect(t, path)
		wantPartx(t, path, l)
		if len(l.Volumes) != 3 || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "where there is no table") {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestManyLogical has more logical partitions than the kernel has numbers.
func TestManyLogical(t *testing.T) {
	const n = 300
	path := sparse(t, (n+2)*mib)
	entry := func(kind byte, start, size uint32) []byte {
		b := make([]byte, 16)
		b[4] = kind
		binary.LittleEndian.PutUint32(b[8:], start)
		binary.LittleEndian.PutUint32(b[12:], size)
		return b
	}
	poke(t, path, 446, entry(0x05, 2048, n*2048))
	poke(t, path, 510, []byte{0x55, 0xaa})
	for i := range uint32(n) {
		at := int64(2048+i*2048) * 512
		poke(t, path, at+446, entry(0x83, 64, 1024))
		if i < n-1 {
			poke(t, path, at+462, entry(0x05, (i+1)*2048, 2048))
		}
		poke(t, path, at+510, []byte{0x55, 0xaa})
	}
	l := detect(t, path)
	if got := l.Volumes; len(got) != 251 || got[250].ID != "255" {
		t.Errorf("%d partitions, the last one is %+v", len(got), got[len(got)-1])
	}
	if want := partx(t, path, 512); !slices.Equal(partitions(l), want[:251]) {
		t.Errorf("partx sees others")
	}
}

// TestRing leads the last record of the chain back to an earlier one. The primary
// partition can be used all the same.
func TestRing(t *testing.T) {
	for name, link := range map[string]uint32{"to the first": 0, "to itself": 36863 - 12286} {
		path := logicalDisk(t)
		record := peek(t, path, 36863*512, 512)
		if record[510] != 0x55 {
			t.Fatalf("no record at 36863: %x", record[440:])
		}
		e := make([]byte, 16)
		e[4] = 0x05
		binary.LittleEndian.PutUint32(e[8:], link)
		binary.LittleEndian.PutUint32(e[12:], 2048)
		poke(t, path, 36863*512+462, e)
		l := layout(t, path, 0)
		wantRefused(t, path, l, "form a ring")
		if r := l.Refused("1"); r != nil {
			t.Errorf("%s: partition 1 refused: %v", name, r)
		}
		if r := l.Refused("6"); r == nil || len(l.Volumes) != 1 {
			t.Errorf("%s: partition 6 is not refused; %+v", name, l.Volumes)
		}
	}
}

// TestLogicalOverlap moves a logical partition over another one's table, and over another
// one. Nobody else is refused.
func TestLogicalOverlap(t *testing.T) {
	for reason, size := range map[string]uint32{
		"partition 6 lies over the table of partition 7": 36864 - 18432,
		"partitions 6 and 7 overlap":                     36865 - 18432,
	} {
		path := logicalDisk(t)
		poke(t, path, 18431*512+446+12, binary.LittleEndian.AppendUint32(nil, size))
		l := layout(t, path, 0)
		wantRefused(t, path, l, reason)
		if l.Refused("6") == nil {
			t.Error("partition 6 is not refused")
		}
		if r := l.Refused("5"); r != nil {
			t.Errorf("partition 5: %v", r)
		}
	}
}

// TestCutMBR cuts an image behind the end of a file system, but before the end of its
// partition. The kernel shortens the partition.
func TestCutMBR(t *testing.T) {
	path := sparse(t, 32*mib)
	run(t, "label: dos\nstart=2048, size=16384, type=83\nstart=20480, size=32768, type=83\n", "sfdisk", "-q", path)
	ext4At(t, path, 20480*512, 8*mib)
	if err := os.Truncate(path, 20*mib); err != nil {
		t.Fatal(err)
	}
	l := detect(t, path)
	if v := l.Volumes[1]; v.FS != "ext4" || v.Start+v.Size != 20*mib || len(l.Warnings) != 1 {
		t.Errorf("%+v", l)
	}
	if err := os.Truncate(path, 10*mib); err != nil { // before partition 2
		t.Fatal(err)
	}
	l = layout(t, path, 0)
	wantRefused(t, path, l, "lies: partition 2 begins")
	if r := l.Refused("1"); r != nil {
		t.Errorf("partition 1: %v", r)
	}
}

// mbr4K is an MBR for sectors of 4096 bytes with two logical partitions, made on a loop
// device that has such.
func mbr4K(t *testing.T) string {
	path := sparse(t, 64*mib)
	dev := loop(t, path, "--sector-size", "4096")
	run(t, "label: dos\nstart=256, size=4096, type=83\nstart=5120, size=8192, type=5\n"+
		"start=5376, size=2048, type=83\nstart=8192, size=2048, type=83\n", "sfdisk", "-q", dev)
	return path
}

// TestMBR4K: the table does not tell the size of sectors; its partitions do.
func TestMBR4K(t *testing.T) {
	path := mbr4K(t)
	ext4At(t, path, 8192*4096, 8*mib)
	l := detect(t, path)
	wantPartx(t, path, l)
	if l.SectorSize != 4096 || len(l.Volumes) != 3 || l.Volumes[2].FS != "ext4" {
		t.Errorf("%+v", l)
	}
	// What lies where a partition would begin for sectors of 512 makes that uncertain.
	ext4At(t, path, 256*512, mib/2)
	l = layout(t, path, 0)
	wantRefused(t, path, l, "both lead to file systems")
	for _, size := range sectorSizes {
		l := layout(t, path, size)
		if r := l.Refused(AnyVolume); r != nil || l.SectorSize != size || !slices.ContainsFunc(l.Volumes, func(v Volume) bool { return v.FS == "ext4" }) {
			t.Errorf("sectors of %d: %v, %+v", size, r, l)
		}
	}
}
