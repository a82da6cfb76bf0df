package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A hinted image is refused, with a hint that leads to a signed one.
type hinted struct {
	name  string
	tools []string
	make  func(t *testing.T, dir string) (image string)
	says  string     // the reason
	n     string     // what a person fills in for N
	boot  [][2]int64 // bytes from and up to which the guest's boot code lies
	start int64      // of the file system that is signed
}

// Boot code lies in the first sector, and behind it or in a partition of its own.
var (
	mbrBoot = [][2]int64{{0, 440}, {512, 63 * 512}}
	gptBoot = [][2]int64{{0, 440}, {1 << 20, 2 << 20}}
)

var hintedImages = []hinted{
	{name: "gpt/no-protective-mbr", make: gptWith(func(t *testing.T, d string) { poke(t, d, 510, make([]byte, 2)) }), says: "no protective MBR", boot: gptBoot, start: 4 << 20},
	{name: "gpt/protective-entry-elsewhere", make: gptWith(func(t *testing.T, d string) { poke(t, d, 446+8, []byte{2}) }), says: "does not begin at sector 1", boot: gptBoot, start: 4 << 20},
	{name: "gpt/primary-entries", make: gptWith(func(t *testing.T, d string) { poke(t, d, 1024+32, []byte{9}) }), says: "only the backup", boot: gptBoot, start: 4 << 20},
	{name: "gpt/primary-header", make: gptWith(func(t *testing.T, d string) { poke(t, d, 512, make([]byte, 512)) }), says: "only the backup", boot: gptBoot, start: 4 << 20},
	{name: "mbr/overlap", make: mbrWith(func(t *testing.T, d string) { poke(t, d, 446+32+8, sector(45000)) }), says: "overlap", boot: mbrBoot, start: 1 << 20},
	{name: "mbr/behind-the-end", make: mbrWith(func(t *testing.T, d string) { poke(t, d, 446+32+8, sector(1<<30)) }), says: "lies", boot: mbrBoot, start: 1 << 20},
	{name: "mbr/ring", make: mbrRing, says: "form a ring", n: "1", boot: mbrBoot, start: 1 << 20},
	{name: "mbr/file-system-over-all", make: mbrWith(func(t *testing.T, d string) { poke(t, d, 1024, peek(t, d, 1<<20+1024, 1024)) }), says: "both a partition table", n: "1", boot: mbrBoot, start: 1 << 20},
	{name: "mbr/two-sector-sizes", make: mbrWith(func(t *testing.T, d string) { // something lies where partition 1 would begin
		poke(t, truncate(t, d, 256<<20), 2048*4096, []byte("XFSB"))
	}), says: "--sector-size", boot: mbrBoot, start: 1 << 20},
	{name: "disk/luks-over-ext4", make: diskWith(func(t *testing.T, d string) { poke(t, d, 0, []byte("LUKS\xba\xbe\x00\x01")) }), says: "more than one content"},
	{name: "mbr/luks-over-ext4", make: mbrWith(func(t *testing.T, d string) { poke(t, d, 1<<20, []byte("LUKS\xba\xbe\x00\x01")) }), says: "more than one content", boot: mbrBoot, start: 1 << 20},
	{name: "gpt/mirror-over-ext4", make: gptWith(func(t *testing.T, d string) { poke(t, d, 20<<20-8192, mirrorHalf(16<<11-16)) }), says: "linux_raid_member", boot: gptBoot, start: 4 << 20},
	{name: "disk/half-of-a-mirror", make: diskWith(func(t *testing.T, d string) { poke(t, d, 16<<20-8192, mirrorHalf(16<<11-16)) }), says: "linux_raid_member"},

	{name: "container/qed", make: converted("qed"), says: "this is QED"},
	{name: "container/parallels", make: converted("parallels"), says: "this is Parallels"},
	{name: "container/gzip", make: compressed("gzip"), says: "this is gzip"},
	{name: "container/xz", make: compressed("xz"), says: "this is xz"},
	{name: "container/zstd", make: compressed("zstd"), says: "this is zstd"},
	{name: "container/bzip2", make: compressed("bzip2"), says: "this is bzip2"},
	{name: "container/lz4", make: compressed("lz4"), says: "this is lz4"},
	{name: "container/android-sparse", tools: []string{"img2simg", "simg2img"}, make: func(t *testing.T, dir string) string {
		peer(t, "img2simg", hintDisk(t, dir), dir+"/sparse.img")
		return dir + "/sparse.img"
	}, says: "this is Android sparse"},

	{name: "ext4/mounted-copy", make: diskWith(func(t *testing.T, d string) { os.Rename(mountedCopy(t, d), d) }), says: "recovery"},
	{name: "ext4/error-state-in-a-partition", make: mbrWith(func(t *testing.T, d string) {
		peer(t, "debugfs", "-w", "-R", "set_super_value state 3", d+"?offset=1048576")
	}), says: "errors", boot: mbrBoot, start: 1 << 20},
	{name: "ext4/marked-read-only", make: diskWith(func(t *testing.T, d string) { debugfs(t, d, true, "feature read-only") }), says: "read-only"},
	{name: "ext4/external-journal", make: func(t *testing.T, dir string) string {
		image := externalJournal(t, newImage(t, dir, "disk.img", 16<<20))
		debugfs(t, image, true, "write /etc/os-release file")
		return image
	}, says: "external journal"},
	{name: "ext4/in-use-elsewhere", make: func(t *testing.T, dir string) string {
		image := mke2fs(t, dir, 32, append(strings.Fields(mmpArgs), "-d", makersTree(t))...)
		return mmpWord(4, 7)(t, image)
	}, says: "in use"},
	{name: "ext4/label-in-an-inode", make: func(t *testing.T, dir string) string {
		image := mke2fs(t, dir, 32, strings.Fields(refusedArgs+" -O ea_inode")...)
		return mounted(func(p *populator) {
			p.write("file", []byte("contents"))
			p.set("file", "security.ima", append([]byte{3, 2, 4}, p.bytes(20000)...))
		})(t, image)
	}, says: "lies in inode"},
	{name: "ext4/quota-of-mke2fs", make: func(t *testing.T, dir string) string { // which does not count what -d puts there
		return mke2fs(t, dir, 32, "-t", "ext4", "-O", "quota", "-d", makersTree(t))
	}, says: "quotas"},
	{name: "ext4/too-few-blocks", make: func(t *testing.T, dir string) string {
		return mounted(fillUp)(t, mke2fs(t, dir, 32, strings.Fields(refusedArgs+" -I 128")...))
	}, says: "new blocks"},
}

// TestHints does what a hint says, in the words that were printed, on a copy of the image that it was given for.
// Afterwards the image can be signed, and the guest's boot code is what it was.
func TestHints(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "tune2fs", "debugfs", "resize2fs", "sfdisk", "sgdisk", "wipefs", "qemu-img", "gzip", "xz", "zstd", "bzip2", "lz4", "losetup", "openssl")
	for _, h := range hintedImages {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			bed.Need(t, h.tools...)
			dir, k := bed.Dir(t), defaultKey(t)
			given := h.make(t, dir)
			image := copyImage(t, given, filepath.Join(dir, "IMAGE"))
			out, image := h.follow(t, k, dir, image)
			fsckAt(t, out, h.start)
			for _, b := range h.boot {
				if !bytes.Equal(peek(t, given, b[0], int(b[1]-b[0])), peek(t, out, b[0], int(b[1]-b[0]))) {
					t.Errorf("the boot code in bytes %d to %d changed", b[0], b[1])
				}
			}
			expectSigned(t, k, viewImage(t, image, h.start), viewImage(t, out, h.start))
		})
	}
}

// follow signs an image, does what hints say until it is signed, and gives the result and what that was made of.
func (h hinted) follow(t *testing.T, k *key, dir, image string) (out, made string) {
	t.Helper()
	out = filepath.Join(dir, "out.img")
	args := []string{"sign", "--key", k.private, image, "--out", out}
	for range 4 {
		r := imagetool(t, args...)
		if r.code == 0 && h.says == "" {
			return out, args[3]
		}
		_, hint, ok := strings.Cut(r.stderr, "\nhint: ")
		if r.code != 1 || !ok || !strings.Contains(r.stderr, h.says) {
			t.Fatalf("want an error about %q, and a hint:\n%v", h.says, r)
		}
		h.says = "" // the next one may say something else
		hint = strings.ReplaceAll(hint, " N", " "+h.n)
		if command := hintCommand.FindStringSubmatch(hint); command != nil {
			args[3] = runHint(t, dir, command[1], args[3])
		} else if flags := hintFlags.FindString(hint); flags != "" {
			args = append(args, strings.Fields(flags)...)
		} else {
			t.Fatalf("the hint names nothing that can be done:\n%v", r)
		}
	}
	t.Fatal("the hints lead to no signed image")
	return "", ""
}

var (
	hintCommand = regexp.MustCompile(`'((?:sgdisk|wipefs|D=\$\(losetup|qemu-img|gzip|xz|zstd|bzip2|lz4|simg2img|e2fsck|tune2fs|debugfs|truncate) [^']*)'`)
	hintFlags   = regexp.MustCompile(`(?:--(?:partition|leave-out|sector-size) \d+ ?)+`)
)

// runHint runs a command as it was printed, in a folder where the image is called IMAGE, and gives the image that there
// is then. e2fsck ends with 1 if it has mended something.
func runHint(t *testing.T, dir, command, image string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	if err != nil && !(cmd.ProcessState.ExitCode() == 1 && strings.Contains(command, "e2fsck -fy")) {
		t.Fatalf("%s: %v\n%s", command, err, bed.Clip(string(text)))
	}
	if made := filepath.Join(dir, "image.raw"); exists(made) {
		return made
	}
	return image
}

// hintDisk is a file system over a whole disk.
func hintDisk(t *testing.T, dir string) string {
	t.Helper()
	image := newImage(t, dir, "disk.img", 16<<20)
	peer(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", makersTree(t), image)
	return image
}

func diskWith(spoil func(t *testing.T, disk string)) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		disk := hintDisk(t, dir)
		spoil(t, disk)
		return disk
	}
}

// partitioned puts a file system on a disk, and something like boot code wherever that may lie.
func partitioned(t *testing.T, dir, table string, start int64, boot [][2]int64) string {
	t.Helper()
	disk := newImage(t, dir, "partitioned.img", 48<<20)
	peerInput(t, table, "sfdisk", "--quiet", disk)
	for i, b := range boot {
		code := make([]byte, b[1]-b[0])
		newRand(int64(i)).Read(code)
		poke(t, disk, b[0], code)
	}
	peer(t, "dd", "if="+hintDisk(t, dir), "of="+disk, "bs=1M", "seek="+itoa(int(start>>20)), "conv=notrunc,sparse", "status=none")
	return disk
}

// mbrWith has a file system on the first of three partitions, and a boot loader in the gap before it.
func mbrWith(spoil func(t *testing.T, disk string)) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		disk := partitioned(t, dir, "label: dos\nstart=2048, size=32768, type=83\nstart=40960, size=8192, type=83\nstart=53248, size=8192, type=83\n", 1<<20, mbrBoot)
		spoil(t, disk)
		return disk
	}
}

// gptWith has a boot loader in a partition of its own.
func gptWith(spoil func(t *testing.T, disk string)) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		disk := partitioned(t, dir, "label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\nstart=8192, size=32768, type=L\n", 4<<20, gptBoot)
		spoil(t, disk)
		return disk
	}
}

// mbrRing has logical partitions whose list never ends.
func mbrRing(t *testing.T, dir string) string {
	disk := partitioned(t, dir, "label: dos\nstart=2048, size=32768, type=83\nstart=40960, size=20480, type=5\nstart=43008, size=4096, type=83\n", 1<<20, mbrBoot)
	link := make([]byte, 16) // to the first record, which is this one
	link[4] = 5
	copy(link[12:], sector(2048))
	poke(t, disk, 40960*512+462, link)
	return disk
}

func sector(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// mirrorHalf is a superblock of md, metadata 1.0, that libblkid takes for one: it lies at this sector.
func mirrorHalf(at uint64) []byte {
	b := make([]byte, 256)
	copy(b, "\xfc\x4e\x2b\xa9\x01")
	binary.LittleEndian.PutUint64(b[144:], at)
	return b
}

func converted(format string, options ...string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		out := filepath.Join(dir, "converted")
		peer(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", format}, options...), hintDisk(t, dir), out)...)
		return out
	}
}

func compressed(tool string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		out := filepath.Join(dir, "compressed")
		if err := os.WriteFile(out, []byte(peer(t, tool, "-1", "-c", hintDisk(t, dir))), 0o644); err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestSkipHint: a file that has no room for a label is left out by the rule that the hint names.
func TestSkipHint(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "e2fsck")
	dir, k := bed.Dir(t), defaultKey(t)
	image := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...)
	mounted(func(p *populator) {
		p.write("usr/bin/full", []byte("contents"))
		p.set("usr/bin/full", "user.full", make([]byte, 3900))
		p.write("usr/bin/other", []byte("contents"))
	})(t, image)
	r := expectRefused(t, image, "does not fit")
	name := regexp.MustCompile(`"(/[^"]*)" \(inode`).FindStringSubmatch(r.stderr)
	rule := regexp.MustCompile(`hint: .*'(skip PATH)'`).FindStringSubmatch(r.stderr)
	if name == nil || rule == nil {
		t.Fatalf("no path, or no rule:\n%v", r)
	}
	rules := filepath.Join(dir, "rules")
	write(t, rules, strings.ReplaceAll(rule[1], "PATH", name[1])+"\n")
	out := filepath.Join(dir, "out.img")
	imagetool(t, "sign", "--key", k.private, image, "--out", out, "--rules", rules).expect(t, 0)
	fsck(t, out)
	imagetool(t, "verify", "--trust", k.public, out, "/usr/bin/other").expect(t, 0)
	imagetool(t, "verify", "--trust", k.public, out, "/usr/bin/full").expect(t, 3)
}
