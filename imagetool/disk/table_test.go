package disk

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
)

// sfdiskView is what the independent reader says.
func sfdiskView(t testing.TB, path string) (parts []struct{ Start, Size int64 }) {
	var view struct {
		PartitionTable struct {
			Partitions []struct{ Start, Size int64 }
		}
	}
	if err := json.Unmarshal([]byte(run(t, "", "sfdisk", "--json", path)), &view); err != nil {
		t.Fatal(err)
	}
	return view.PartitionTable.Partitions
}

func comparePartitions(t *testing.T, path string, l *Layout) {
	t.Helper()
	want := sfdiskView(t, path)
	got := l.Volumes
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d partitions, sfdisk sees %d", len(got), len(want))
	}
	for i, p := range got {
		if p.Start != want[i].Start*512 || p.Size != want[i].Size*512 {
			t.Errorf("partition %s: %d+%d, sfdisk sees %+v", p.ID, p.Start, p.Size, want[i])
		}
	}
}

func TestGPT(t *testing.T) {
	path := gptDisk(t)
	l := detect(t, path)
	comparePartitions(t, path, l)
	if l.Table != "gpt" || l.SectorSize != 512 {
		t.Errorf("table %s with sectors of %d", l.Table, l.SectorSize)
	}
	p := l.Volumes
	if p[1].Name != "r\u00f6\u00f6t" || p[1].FS != "ext4" || p[0].FS != "" {
		t.Errorf("partitions %+v", p)
	}
}

func TestMBR(t *testing.T) {
	path := sparse(t, 32*mib)
	run(t, "label: dos\nstart=2048, size=8192, type=c\nstart=16384, size=32768, type=83, bootable\n", "sfdisk", "-q", path)
	ext4At(t, path, 16384*512, 16*mib)
	l := detect(t, path)
	comparePartitions(t, path, l)
	if p := l.Volumes[1]; l.Table != "mbr" || p.Type != "0x83" || p.FS != "ext4" || p.ID != "2" {
		t.Errorf("%s %+v", l.Table, p)
	}
}

func TestWholeDisk(t *testing.T) {
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		path := sparse(t, 8*mib)
		run(t, "", "mke2fs", "-q", "-F", "-t", kind, path)
		l := detect(t, path)
		want := Volume{ID: volume.WholeDisk, Size: 8 * mib, FS: kind}
		if p := l.Volumes; len(p) != 1 || !reflect.DeepEqual(p[0], want) || l.Table != "none" {
			t.Errorf("%s: %+v", kind, p)
		}
	}
}

// TestBootCode: a boot sector before a file system is not a partition table.
func TestBootCode(t *testing.T) {
	path := sparse(t, 8*mib)
	run(t, "", "mke2fs", "-q", "-F", path)
	poke(t, path, 440, []byte(strings.Repeat("boot code ", 7)))
	poke(t, path, 510, []byte{0x55, 0xaa})
	detect(t, path)
}

// refused are images made from a sound one by one change each.
var refused = []struct {
	name   string
	base   func(testing.TB) string
	change func(t *testing.T, path string)
	reason string
}{
	{"entries over the header", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 512+72, []byte{1})
		fixCRC(t, p)
	}, "do not match their checksum"},
	{"partition over the entries", gptDisk, func(t *testing.T, p string) {
		run(t, "", "sgdisk", "--move-main-table=40", p)
		poke(t, p, 40*512+32, []byte{50, 0})
		fixEntries(t, p, 40)
	}, "partition 1 lies over the entries"},
	{"partition over the backup", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 1024+2*128+40, []byte{0xf0, 0xff})
		fixEntries(t, p, 2)
		poke(t, p, -33*512, peek(t, p, 1024, 128*128))
		poke(t, p, -512+88, peek(t, p, 512+88, 4))
		fixHeader(t, p, -512)
	}, "partition 3 lies over the backup"},
	{"partition behind the end", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 1024+2*128+40, []byte{0, 0, 1})
		fixEntries(t, p, 2)
	}, "lies: partition 3 spans"},
	{"partition upside down", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 1024+2*128+40, []byte{1, 0})
		fixEntries(t, p, 2)
	}, "partition 3 spans"},
	{"GPT overlap", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 1024+2*128+32, []byte{0, 0x21})
		fixEntries(t, p, 2)
	}, "partitions 2 and 3 overlap"},
	{"ext4 over GPT elsewhere", gptDisk, func(t *testing.T, p string) {
		run(t, "", "sgdisk", "--move-main-table=64", p)
		ext4Super(t, p)
	}, "both a partition table"},
	{"MBR beyond", mbrDisk, func(t *testing.T, p string) { poke(t, p, 446+8, []byte{0, 0, 0, 0x7f}) }, "lies"},
	{"MBR overlap", mbrDisk, func(t *testing.T, p string) { poke(t, p, 462+8, []byte{0, 9, 0, 0}) }, "overlap"},
	{"ext4 over MBR", mbrDisk, func(t *testing.T, p string) { ext4Super(t, p) }, "both a partition table"},
	{"LUKS over ext4", extDisk, func(t *testing.T, p string) { poke(t, p, 0, []byte("LUKS\xba\xbe")) }, "more than one content"},
	{"mirror half", extDisk, func(t *testing.T, p string) { poke(t, p, -8192, []byte{0xfc, 0x4e, 0x2b, 0xa9}) }, "linux_raid_member"},
	{"zeros", extDisk, func(t *testing.T, p string) { poke(t, p, 0, make([]byte, headSize)) }, "begins with zeros"},
	{"empty", extDisk, func(t *testing.T, p string) { os.Truncate(p, 0) }, "empty"},
	{"short", extDisk, func(t *testing.T, p string) { os.Truncate(p, 100) }, "100 bytes"},
	{"text", extDisk, func(t *testing.T, p string) { poke(t, p, 0, []byte(strings.Repeat("text", headSize/4))) }, "neither a partition table nor a known"},
}

// ext4Super plants the superblock of another file system at 1024.
func ext4Super(t *testing.T, path string) { poke(t, path, 1024, peek(t, extDisk(t), 1024, 1024)) }

// fixCRC makes a changed primary GPT header valid again, fixEntries one whose entries,
// at this sector, were changed.
func fixCRC(t *testing.T, path string) { fixHeader(t, path, 512) }

func fixEntries(t *testing.T, path string, lba int64) {
	sum := crc32.ChecksumIEEE(peek(t, path, lba*512, 128*128))
	poke(t, path, 512+88, binary.LittleEndian.AppendUint32(nil, sum))
	fixCRC(t, path)
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			path := c.base(t)
			detect(t, path) // sound before the change
			c.change(t, path)
			before := sum(t, path)
			wantRefused(t, path, layout(t, path, 0), c.reason)
			if sum(t, path) != before {
				t.Error("the image was changed")
			}
		})
	}
}

// TestStaleGPT has an MBR that is not protective in front of a GPT: the kernel goes by it.
func TestStaleGPT(t *testing.T) {
	path := gptDisk(t)
	saved := peek(t, path, 512, 33*512)
	run(t, "label: dos\nstart=8192, size=32768, type=83\n", "sfdisk", "-q", "--wipe", "always", path)
	poke(t, path, 512, saved)
	l := detect(t, path)
	wantPartx(t, path, l)
	if l.Table != "mbr" || len(l.Volumes) != 1 || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "there is a GPT, too") {
		t.Errorf("%+v", l)
	}
}

// TestUnreadTable has the remains of a GPT around a file system over the whole disk. The
// kernel sees no table there.
func TestUnreadTable(t *testing.T) {
	path := gptDisk(t)
	run(t, "", "sgdisk", "--move-main-table=64", path) // to where mke2fs leaves it, once its bitmaps are elsewhere
	header := peek(t, path, 512, 512)
	entries := peek(t, path, 64*512, 32*512)
	run(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-G", "1", path)
	poke(t, path, 512, header)
	poke(t, path, 64*512, entries)
	l := detect(t, path)
	if l.Table != "none" || len(l.Volumes) != 1 || l.Volumes[0].FS != "ext4" || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "no protective MBR") {
		t.Errorf("%+v", l)
	}
	if seen := partx(t, path, 512); len(seen) > 0 {
		t.Errorf("partx sees %v", seen)
	}
}

// TestFileSystemOverGPT has a superblock where the entries of a GPT were, of which the
// backup is left. What restores that would destroy the file system.
func TestFileSystemOverGPT(t *testing.T) {
	path := gptDisk(t)
	ext4Super(t, path)
	l := detect(t, path)
	if l.Table != "none" || len(l.Volumes) != 1 || l.Volumes[0].FS != "ext2" || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "only the backup") {
		t.Errorf("%+v", l)
	}
}

// TestChoose has a table and a file system over the whole disk: one of them is meant, and
// nobody can tell which.
func TestChoose(t *testing.T) {
	path := mbrDisk(t)
	ext4At(t, path, 2048*512, 4*mib)
	ext4Super(t, path)
	l := layout(t, path, 0)
	if l.Refused(AnyVolume) == nil {
		t.Error("it is not refused")
	}
	for _, id := range []volume.ID{"0", "1", "2"} {
		if r := l.Refused(id); r != nil {
			t.Errorf("partition %s: %v", id, r)
		}
	}
	if r := l.Refused("3"); r == nil {
		t.Error("a partition that is not there is not refused")
	}
}

// TestChosen: what is wrong with one partition keeps no other from being used.
func TestChosen(t *testing.T) {
	path := gptDisk(t)
	poke(t, path, 2048*512, []byte("LUKS\xba\xbe"))
	ext4At(t, path, 40960*512, 4*mib)
	poke(t, path, 40960*512, []byte("LUKS\xba\xbe")) // partition 3 has two contents
	l := layout(t, path, 0)
	if l.Refused(AnyVolume) == nil || l.Refused("3") == nil || l.Refused("2") != nil {
		t.Errorf("%+v", l)
	}
}

// TestNoOthers: nobody is told to leave out all that could be signed.
func TestNoOthers(t *testing.T) {
	path := sparse(t, 32*mib)
	run(t, "label: dos\nstart=2048, size=16384, type=83\nstart=20480, size=8192, type=83\nstart=30720, size=16384, type=83\n", "sfdisk", "-q", path)
	ext4At(t, path, mib, 8*mib)
	poke(t, path, 462+8, []byte{0, 16, 0, 0}) // partition 2 into partition 1
	if hint := layout(t, path, 0).Refused(AnyVolume).Hint; hint != "" {
		t.Errorf("with one file system: %q", hint)
	}
	ext4At(t, path, 15*mib, 8*mib)
	if hint := layout(t, path, 0).Refused(AnyVolume).Hint; hint != "--leave-out 1 --leave-out 2 signs the others" {
		t.Errorf("with another one: %q", hint)
	}
}

// TestGrown enlarges images as people do.
func TestGrown(t *testing.T) {
	for name, make := range map[string]func(testing.TB) string{"gpt": gptDisk, "mbr": mbrDisk, "logical": logicalDisk, "none": extDisk} {
		path := make(t)
		sound := partitions(detect(t, path))
		run(t, "", "qemu-img", "resize", "-q", "-f", "raw", path, "100M")
		l := detect(t, path)
		if l.Table != name && name != "logical" || len(l.Warnings) > 0 || len(l.Volumes) != len(sound) {
			t.Errorf("%s: %+v", name, l)
		}
		if name != "none" {
			wantPartx(t, path, l)
		}
	}
}
