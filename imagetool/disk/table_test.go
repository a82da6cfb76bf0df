package disk

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"strings"
	"testing"
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
			t.Errorf("partition %d: %d+%d, sfdisk sees %+v", p.Number, p.Start, p.Size, want[i])
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

func TestGPTGrown(t *testing.T) {
	path := gptDisk(t)
	if err := os.Truncate(path, 48*mib); err != nil {
		t.Fatal(err)
	}
	if n := len(detect(t, path).Volumes); n != 3 {
		t.Errorf("%d partitions", n)
	}
}

// TestGPT4K moves a table for 512-byte sectors to where one for 4096-byte sectors
// belongs, since a file has no sector size that sfdisk could be told.
func TestGPT4K(t *testing.T) {
	path := sparse(t, 256*4096)
	le := binary.LittleEndian
	entry := make([]byte, 128*128)
	copy(entry, "linux-filesystem")      // type
	copy(entry[16:], "0123456789abcdef") // id
	le.PutUint64(entry[32:], 10)         // first
	le.PutUint64(entry[40:], 200)        // last
	header := func(my, other, entries uint64) []byte {
		h := make([]byte, 92)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c")
		le.PutUint64(h[24:], my)
		le.PutUint64(h[32:], other)
		le.PutUint64(h[40:], 6)
		le.PutUint64(h[48:], 250)
		le.PutUint64(h[72:], entries)
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entry))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		return h
	}
	poke(t, path, 510, []byte{0x55, 0xaa})
	poke(t, path, 446, []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 255, 0, 0, 0})
	poke(t, path, 4096, header(1, 255, 2))
	poke(t, path, 2*4096, entry)
	poke(t, path, 251*4096, entry)
	poke(t, path, 255*4096, header(255, 1, 251))
	l := detect(t, path)
	want := Volume{Number: 1, Start: 10 * 4096, Size: 191 * 4096}
	got := l.Volumes
	if l.SectorSize != 4096 || len(got) != 1 || got[0].Start != want.Start || got[0].Size != want.Size {
		t.Errorf("sectors of %d, partitions %+v", l.SectorSize, got)
	}
}

func TestMBR(t *testing.T) {
	path := sparse(t, 32*mib)
	run(t, "label: dos\nstart=2048, size=8192, type=c\nstart=16384, size=32768, type=83, bootable\n", "sfdisk", "-q", path)
	ext4At(t, path, 16384*512, 16*mib)
	l := detect(t, path)
	comparePartitions(t, path, l)
	if p := l.Volumes[1]; l.Table != "mbr" || p.Type != "0x83" || p.FS != "ext4" || p.Number != 2 {
		t.Errorf("%s %+v", l.Table, p)
	}
}

func TestWholeDisk(t *testing.T) {
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		path := sparse(t, 8*mib)
		run(t, "", "mke2fs", "-q", "-F", "-t", kind, path)
		l := detect(t, path)
		want := Volume{Size: 8 * mib, FS: kind}
		if p := l.Volumes; len(p) != 1 || p[0] != want || l.Table != "none" {
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
	{"cut off", gptDisk, func(t *testing.T, p string) { os.Truncate(p, 24*mib) }, "lies"},
	{"primary entries", gptDisk, func(t *testing.T, p string) { poke(t, p, 1024+32, []byte{9}) }, "only the backup"},
	{"primary header", gptDisk, func(t *testing.T, p string) { poke(t, p, 512+56, []byte("other disk")) }, "only the backup"},
	{"backup header", gptDisk, func(t *testing.T, p string) { poke(t, p, -512+56, []byte("x")) }, "no valid backup"},
	{"backup entries", gptDisk, func(t *testing.T, p string) { poke(t, p, -33*512, []byte("x")) }, "backup GPT entries"},
	{"both headers", gptDisk, func(t *testing.T, p string) { poke(t, p, 512+20, []byte("x")); poke(t, p, -512, []byte("x")) }, "damaged GPT"},
	{"no GPT behind protective MBR", gptDisk, func(t *testing.T, p string) { poke(t, p, 512, make([]byte, 8)) }, "no GPT header"},
	{"no protective MBR", gptDisk, func(t *testing.T, p string) { poke(t, p, 510, make([]byte, 2)) }, "without a protective MBR"},
	{"hybrid", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 462, []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0})
	}, "hybrid"},
	{"entry size 0", gptDisk, func(t *testing.T, p string) { poke(t, p, 512+84, make([]byte, 4)); fixCRC(t, p) }, "entries of 0 bytes"},
	{"four thousand million entries", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 512+80, []byte{0xff, 0xff, 0xff, 0xff})
		fixCRC(t, p)
	}, "room for 4294967295"},
	{"another disk's backup", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 512+56, []byte("another disk"))
		fixCRC(t, p)
	}, "contradicts"},
	{"entries over the header", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 512+72, []byte{1})
		fixCRC(t, p)
	}, "entries at sector 1"},
	{"last usable beyond", gptDisk, func(t *testing.T, p string) {
		poke(t, p, 512+48, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
		fixCRC(t, p)
	}, "lies"},
	{"ext4 over GPT", gptDisk, func(t *testing.T, p string) { ext4Super(t, p) }, "both a partition table"},
	{"two tables", gptDisk, func(t *testing.T, p string) { poke(t, p, 4096, []byte("EFI PART")) }, "two GPT headers"},
	{"extended", mbrDisk, func(t *testing.T, p string) { poke(t, p, 446+4, []byte{0x05}) }, "logical partitions are not supported"},
	{"MBR beyond", mbrDisk, func(t *testing.T, p string) { poke(t, p, 446+12, []byte{0, 0, 0, 0x7f}) }, "lies"},
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

// fixCRC makes a changed primary GPT header valid again.
func fixCRC(t *testing.T, path string) {
	h := peek(t, path, 512, 92)
	clear(h[16:20])
	poke(t, path, 512+16, binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(h)))
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			path := c.base(t)
			detect(t, path) // sound before the change
			c.change(t, path)
			before := sum(t, path)
			_, r, err := Detect(device(t, path))
			if err != nil {
				t.Errorf("Detect: %v", err)
			}
			if r == nil || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("refused because of %v, want %q", r, c.reason)
			}
			if sum(t, path) != before {
				t.Error("the image was changed")
			}
		})
	}
}
