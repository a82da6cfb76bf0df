package disk

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"strings"
	"testing"
)

// accepted are images made from a sound one by one change each, which the kernel reads
// as before: so does partx. What is wrong with them is a warning.
var accepted = []struct {
	name    string
	change  func(t *testing.T, path string)
	warning string // "" for none
}{
	{"backup overwritten", func(t *testing.T, p string) { poke(t, p, -33*512, make([]byte, 33*512)) }, "backup of the GPT is missing"},
	{"backup cut off", func(t *testing.T, p string) { os.Truncate(p, 32*mib-33*512) }, "behind the end of the image"},
	{"backup header", func(t *testing.T, p string) { poke(t, p, -512+56, []byte("another disk")) }, "header does not match its checksum"},
	{"backup entries", func(t *testing.T, p string) { poke(t, p, -33*512, []byte("another type")) }, "entries do not match their checksum"},
	{"another disk's backup", func(t *testing.T, p string) {
		poke(t, p, 512+56, []byte("another disk"))
		fixCRC(t, p)
	}, "not that of the primary"},
	{"backup elsewhere", func(t *testing.T, p string) {
		poke(t, p, 512+32, []byte{7})
		fixCRC(t, p)
	}, "no GPT header at sector"},
	{"grown", func(t *testing.T, p string) { run(t, "", "qemu-img", "resize", "-q", "-f", "raw", p, "48M") }, ""},
	{"grown by less than a sector", func(t *testing.T, p string) { os.Truncate(p, 32*mib+100) }, ""},
	{"protective entry of size 0", func(t *testing.T, p string) { poke(t, p, 446+12, make([]byte, 4)) }, ""},
	{"protective entry of another size", func(t *testing.T, p string) { poke(t, p, 446+12, []byte{9, 9, 0, 0}) }, ""},
	{"largest protective entry", func(t *testing.T, p string) { poke(t, p, 446+12, []byte{0xff, 0xff, 0xff, 0xff}) }, ""},
	{"protective entry with a boot flag", func(t *testing.T, p string) { poke(t, p, 446, []byte{0x80}) }, ""},
	{"second entry protective", func(t *testing.T, p string) {
		poke(t, p, 462, peek(t, p, 446, 16))
		poke(t, p, 446, make([]byte, 16))
	}, ""},
	{"header with a tail", func(t *testing.T, p string) {
		poke(t, p, 512+12, []byte{0, 2})
		fixCRC(t, p)
	}, "not that of the primary"},
	{"a revision to come", func(t *testing.T, p string) {
		poke(t, p, 512+8, []byte{0, 0, 2, 0})
		fixCRC(t, p)
	}, "not that of the primary"},
	{"hybrid", func(t *testing.T, p string) { run(t, "", "sgdisk", "--hybrid=1:2", p) }, ""},
	{"hybrid with a partition of its own", func(t *testing.T, p string) {
		run(t, "", "sgdisk", "--hybrid=1", p)
		poke(t, p, 462+8, []byte{0, 9})
	}, "hybrid MBR has a partition at entry 2"},
	{"entries moved", func(t *testing.T, p string) { run(t, "", "sgdisk", "--move-main-table=1024", p) }, ""},
	{"four entries", func(t *testing.T, p string) { run(t, "", "sgdisk", "--resize-table=4", p) }, ""},
	{"200 entries", func(t *testing.T, p string) { run(t, "", "sgdisk", "--resize-table=200", p) }, ""},
	{"remains of a table for sectors of 4096", func(t *testing.T, p string) {
		run(t, "", "sgdisk", "--move-main-table=64", p)
		poke(t, p, 4096, []byte("EFI PART"))
	}, ""},
}

func TestAcceptedGPT(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			path := gptDisk(t)
			sound := partitions(detect(t, path))
			c.change(t, path)
			l := detect(t, path)
			wantPartx(t, path, l)
			if got := partitions(l); len(got) != len(sound) {
				t.Errorf("partitions %v, before %v", got, sound)
			}
			warnings := strings.Join(l.Warnings, "\n")
			if !strings.Contains(warnings, c.warning) || (c.warning == "") != (warnings == "") {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
		})
	}
}

// unread are changes after which the kernel finds no partitions. Neither does partx, but
// that it looks at the backup, and not at where the protective entry begins.
var unread = []struct {
	name   string
	change func(t *testing.T, path string)
	reason string
	hint   string
	partx  bool
}{
	{"cut off", func(t *testing.T, p string) { os.Truncate(p, 24*mib) }, "it describes a disk of", hintCut, false},
	{"primary entries", func(t *testing.T, p string) { poke(t, p, 1024+32, []byte{9}) }, "only the backup", hintRestore, true},
	{"primary header", func(t *testing.T, p string) { poke(t, p, 512+56, []byte("other disk")) }, "only the backup", hintRestore, true},
	{"both headers", func(t *testing.T, p string) { poke(t, p, 512+20, []byte("x")); poke(t, p, -512, []byte("x")) }, "none that the kernel takes", "", false},
	{"no header", func(t *testing.T, p string) { poke(t, p, 512, make([]byte, 512)); poke(t, p, -512, make([]byte, 512)) }, "no GPT header", "", false},
	{"no protective MBR", func(t *testing.T, p string) { poke(t, p, 510, make([]byte, 2)) }, "no protective MBR", hintRestore, false},
	{"protective entry elsewhere", func(t *testing.T, p string) { poke(t, p, 446+8, []byte{2}) }, "does not begin at sector 1", hintRestore, true},
	{"entry size 0", func(t *testing.T, p string) { breakBoth(t, p, 84, make([]byte, 4)) }, "entries of 0 bytes", "", false},
	{"four thousand million entries", func(t *testing.T, p string) { breakBoth(t, p, 80, []byte{0xff, 0xff, 0xff, 0xff}) }, "room for 4294967295", "", false},
	{"last usable beyond", func(t *testing.T, p string) {
		breakBoth(t, p, 48, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	}, "describes a disk of", hintCut, false},
}

// breakBoth changes both headers, and leaves their checksums right.
func breakBoth(t *testing.T, path string, offset int64, b []byte) {
	for _, header := range []int64{512, -512} {
		poke(t, path, header+offset, b)
		fixHeader(t, path, header)
	}
}

// fixHeader makes the checksum of a changed header right.
func fixHeader(t *testing.T, path string, at int64) {
	if at < 0 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		at += info.Size()
	}
	h := peek(t, path, at, 512)
	clear(h[16:20])
	n := min(binary.LittleEndian.Uint32(h[12:]), 512)
	poke(t, path, at+16, binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(h[:n])))
}

func TestUnreadGPT(t *testing.T) {
	for _, c := range unread {
		t.Run(c.name, func(t *testing.T) {
			path := gptDisk(t)
			c.change(t, path)
			l := layout(t, path, 0)
			if r := wantRefused(t, path, l, c.reason); r != nil && r.Hint != c.hint {
				t.Errorf("hint %q, want %q", r.Hint, c.hint)
			}
			if l.Refused("2") == nil {
				t.Error("partition 2 is not refused")
			}
			if seen := partx(t, path, 512); (len(seen) > 0) != c.partx {
				t.Errorf("partx sees %v", seen)
			}
		})
	}
}

// gpt4K is made on a loop device with sectors of 4096 bytes.
func gpt4K(t *testing.T, script string) string {
	path := sparse(t, 32*mib)
	run(t, script, "sfdisk", "-q", loop(t, path, "--sector-size", "4096"))
	return path
}

func TestGPT4K(t *testing.T) {
	path := gpt4K(t, "label: gpt\nstart=256, size=1024, type=U\nstart=2048, size=4096, type=L, name=root\n")
	ext4At(t, path, 2048*4096, 16*mib)
	l := detect(t, path)
	wantPartx(t, path, l)
	if l.SectorSize != 4096 || len(l.Volumes) != 2 || l.Volumes[1].FS != "ext4" || l.Volumes[1].Name != "root" || len(l.Warnings) > 0 {
		t.Errorf("%+v", l)
	}
}

// TestTwoGPTs has a table for each size of sectors: as long as both describe the same
// bytes, it does not matter which one is read.
func TestTwoGPTs(t *testing.T) {
	for _, same := range []bool{true, false} {
		path := gpt4K(t, "label: gpt\nfirst-lba: 64\nlast-lba: 8000\nstart=2048, size=4096, type=L\n")
		saved := peek(t, path, 4096, 4096+4096+128*128)
		run(t, "", "sgdisk", "--clear", "--move-main-table=64", path)
		last := "49151"
		if !same {
			last = "40959"
		}
		run(t, "", "sgdisk", "--new=1:16384:"+last, path)
		poke(t, path, 4096, saved)
		l := layout(t, path, 0)
		if !same {
			wantRefused(t, path, l, "two GPTs")
		} else if r := l.Refused(AnyVolume); r != nil || l.SectorSize != 512 || len(l.Volumes) != 1 {
			t.Errorf("refused because of %v, %+v", r, l)
		}
		for _, size := range sectorSizes {
			if l := layout(t, path, size); l.Refused(AnyVolume) != nil || l.SectorSize != size || len(l.Volumes) != 1 {
				t.Errorf("sectors of %d: %+v", size, l)
			}
		}
	}
}
