package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// refused is an image that must not be signed.
type refused struct {
	name  string
	args  string                                  // of mke2fs; empty: refusedArgs
	spoil func(t *testing.T, image string) string // makes the image what it is, or returns another one
	want  string                                  // what the message must name, a case-insensitive pattern
}

// refusedArgs make the image that most cases start from: 32 MiB, 4 KiB blocks, every kind of checksum.
const refusedArgs = full + "-b 4096 -N 4096"

const (
	clusterArgs = refusedArgs + " -O bigalloc -C 8192"
	mmpArgs     = refusedArgs + " -O mmp,^metadata_csum,^uninit_bg" // nothing has a checksum
)

// debugfsDoes spoils an image by debugfs commands.
func debugfsDoes(commands ...string) func(*testing.T, string) string {
	return func(t *testing.T, image string) string {
		debugfs(t, image, true, commands...)
		return image
	}
}

func asMade(_ *testing.T, image string) string { return image }

var refusals = []refused{
	{name: "needs-recovery-flag", spoil: debugfsDoes("feature needs_recovery"), want: `recover`},
	{name: "mounted-copy", spoil: mountedCopy, want: `recover|journal`},
	{name: "journal-not-empty", spoil: func(t *testing.T, image string) string {
		copied := mountedCopy(t, image)
		debugfs(t, copied, true, "feature -needs_recovery")
		return copied
	}, want: `journal`},
	{name: "journal-failed", spoil: journalErrno, want: `journal`},
	{name: "journal-external", spoil: externalJournal, want: `journal`},
	{name: "journal-device", args: "-O journal_dev", spoil: asMade, want: `journal`},
	{name: "journal-unreadable", spoil: debugfsDoes("set_inode_field <8> block[0] 0"), want: `journal|inode 8`},
	{name: "not-clean", spoil: debugfsDoes("set_super_value state 0"), want: `clean|valid|unmount`},
	{name: "error-state", spoil: debugfsDoes("set_super_value state 3"), want: `error`},
	{name: "orphans", spoil: debugfsDoes("set_super_value last_orphan 13"), want: `orphan`},
	{name: "orphan-present", args: refusedArgs + " -O orphan_file", spoil: superblockField(0x64, 4, func(n uint64) uint64 { return n | 1<<16 }), want: `orphan`},
	{name: "checksum-type", spoil: debugfsDoes("set_super_value checksum_type 2"), want: `checksum`},
	{name: "unknown-incompat", spoil: superblockField(0x60, 4, func(n uint64) uint64 { return n | 1<<30 }), want: `feature`},
	{name: "unknown-ro-compat", spoil: superblockField(0x64, 4, func(n uint64) uint64 { return n | 1<<30 }), want: `feature`},
	{name: "bigalloc-shared-cluster", args: clusterArgs, spoil: sharedBlock, want: `cluster.* two owners`},
	{name: "bigalloc-misaligned", args: clusterArgs, spoil: misaligned, want: `place in a cluster`},
	{name: "bigalloc-blocks-counted", args: clusterArgs, spoil: debugfsDoes("set_inode_field /file blocks 8"), want: `i_blocks is 8, but it has 16`},
	{name: "encrypted-file", args: refusedArgs + " -O encrypt", spoil: debugfsDoes("set_inode_field /file flags 0x80800"), want: `is encrypted`},
	{name: "case-folded-folder", args: refusedArgs + " -O casefold", spoil: debugfsDoes("set_inode_field /lost+found flags 0x40080000"), want: `case-folded`},
	{name: "quota", args: refusedArgs + " -O quota", spoil: debugfsDoes("write /dev/null file"), want: `quota`},
	{name: "quota-of-projects", args: refusedArgs + " -O quota,project -E quotatype=prjquota", spoil: debugfsDoes("mkdir dir"), want: `quota`},
	{name: "read-only", spoil: debugfsDoes("feature read-only"), want: `read-only`},
	{name: "mmp-mounted-elsewhere", args: refusedArgs + " -O mmp", spoil: mountedCopy, want: `in use on host`},
	{name: "mmp-e2fsck", args: mmpArgs, spoil: mmpWord(4, 0xe24d4d50), want: `in use on host .* by e2fsck`},
	{name: "mmp-magic", args: mmpArgs, spoil: mmpWord(0, 0), want: `MMP block \d+ has no magic`},
	{name: "mmp-checksum", args: refusedArgs + " -O mmp", spoil: mmpWord(8, 1), want: `MMP block \d+: checksum`},
	{name: "ea-inode-of-ima", args: refusedArgs + " -O ea_inode", spoil: mounted(func(p *populator) {
		p.set("file", "security.ima", append([]byte{3, 2, 4}, p.bytes(20000)...))
	}), want: `security\.ima lies in inode`},
	{name: "ea-inode-of-link", args: refusedArgs + " -O ea_inode", spoil: mounted(func(p *populator) {
		p.must(os.Symlink("file", p.path("link")))
		p.set("link", "trusted.huge", p.bytes(20000))
	}), want: `symbolic link has an extended attribute`},
	{name: "ea-inode-count", args: refusedArgs + " -O ea_inode", spoil: eaInodeCount, want: `reference count`},
	{name: "evm", spoil: mounted(func(p *populator) { p.set("file", "security.evm", []byte("\x02some hmac")) }), want: `security\.evm`},
	{name: "too-few-blocks", spoil: mounted(fillUp), want: `block`},
	{name: "no-room-in-attribute-block", spoil: mounted(func(p *populator) {
		p.set("file", "user.full", make([]byte, 3900))
	}), want: `file`},
	{name: "truncated", spoil: func(t *testing.T, image string) string { return truncate(t, image, 20<<20) }, want: `truncat|short|size|end`},
	{name: "lying-bitmap", spoil: lyingBitmap, want: `bitmap|block`},
	{name: "wrong-refcount", spoil: wrongRefcount, want: `refcount|reference`},
	{name: "wrong-free-count", spoil: debugfsDoes("set_super_value free_blocks_count 77"), want: `free`},
	{name: "wrong-group-free-count", spoil: debugfsDoes("set_block_group 0 free_blocks_count 77", "set_block_group 0 checksum calc"), want: `free`},
	{name: "wrong-free-inodes", spoil: debugfsDoes("set_super_value free_inodes_count 77"), want: `inode`},
	{name: "shared-data-block", spoil: sharedBlock, want: `block`},
	{name: "wrong-link-count", spoil: debugfsDoes("set_inode_field /file links_count 2"), want: `link`},
	{name: "missing-inode", spoil: debugfsDoes("clri /file"), want: `inode|file`},
	{name: "not-a-file-system", spoil: func(t *testing.T, image string) string {
		poke(t, image, 0, make([]byte, 4096))
		return image
	}, want: `file system|partition`},
}

// refusedImage makes the image of a case, filled by the kernel where it can be.
func (r refused) image(t *testing.T, dir string) string {
	t.Helper()
	if r.args == "" {
		r.args = refusedArgs
	}
	image := mke2fs(t, dir, 32, strings.Fields(r.args)...)
	for _, feature := range []string{"journal_dev", "casefold", "quota"} { // the running kernel need not know them
		if strings.Contains(r.args, feature) {
			return r.spoil(t, image)
		}
	}
	mounted(simpleFiles)(t, image)
	return r.spoil(t, image)
}

// simpleFiles makes one of each structure that has a checksum.
func simpleFiles(p *populator) {
	p.write("file", []byte("contents"))
	p.set("file", "user.small", []byte("in the inode"))
	p.write("attributes", []byte("contents"))
	p.set("attributes", "user.large", p.bytes(600))
	var every []int64
	for i := range int64(20) {
		every = append(every, 2*i*p.bs)
	}
	p.at("extents", 40*p.bs, every...)
	p.must(os.Mkdir(p.path("leaf"), 0o755))
	p.write("leaf/file", []byte("leaf"))
	p.must(os.Mkdir(p.path("tree"), 0o755))
	for i := range 400 {
		p.must(os.Symlink("x", p.path("tree/"+strings.Repeat("t", 40)+itoa(i))))
	}
	// Two names for one attribute block.
	for _, name := range []string{"shared-1", "shared-2"} {
		p.write(name, []byte(name))
		p.set(name, "user.shared", []byte(strings.Repeat("s", 700)))
	}
}

// mounted changes an image through the kernel.
func mounted(fill func(p *populator)) func(*testing.T, string) string {
	return func(t *testing.T, image string) string {
		root, umount := mount(t, image, false, 0)
		fill(&populator{t: t, root: root, bs: 4096, rnd: newRand(5)})
		umount()
		return image
	}
}

// TestRefused: what cannot be signed safely is refused by name, and nothing is written anywhere.
func TestRefused(t *testing.T) {
	bed.Need(t, "mke2fs", "debugfs", "dumpe2fs", "losetup", "openssl")
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			dir := bed.Dir(t)
			expectRefused(t, r.image(t, dir), r.want)
		})
	}
	t.Run("the-image-itself-is-good", func(t *testing.T) { // or all of the above prove nothing
		dir := bed.Dir(t)
		image := refused{spoil: asMade}.image(t, dir)
		fsck(t, image)
		imagetool(t, "sign", "--key", defaultKey(t).private, image, "--out", filepath.Join(dir, "out.img")).expect(t, 0)
	})
}

// expectRefused signs an image and wants exit code 1, a message that names the reason, no output and no trace.
func expectRefused(t *testing.T, image, want string, options ...string) result {
	t.Helper()
	sum, dir := fileSum(t, image), bed.Dir(t)
	args := append([]string{"sign", "--key", defaultKey(t).private, image, "--out", filepath.Join(dir, "out.img")}, options...)
	r := imagetool(t, args...)
	if r.code != 1 || !regexp.MustCompile("(?i)"+want).MatchString(r.stderr) || !strings.Contains(r.stderr, "error: ") {
		t.Errorf("want exit code 1 and a message with %q:\n%v", want, r)
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("it panicked:\n%v", r)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("it left %s behind", e.Name())
	}
	if fileSum(t, image) != sum {
		t.Error("the input image changed")
	}
	return r
}

// mountedCopy copies an image while it is mounted for writing.
func mountedCopy(t *testing.T, image string) string {
	t.Helper()
	root, umount := mount(t, image, false, 0)
	defer umount()
	p := &populator{t: t, root: root, bs: 4096, rnd: newRand(6)}
	p.write("written", p.bytes(100_000))
	peer(t, "sync", "--file-system", root)
	return copyImage(t, image, filepath.Join(filepath.Dir(image), "copy.img"))
}

func truncate(t *testing.T, image string, size int64) string {
	t.Helper()
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	return image
}

// eaInodeCount gives a file an attribute too large for a block, which ext4 keeps in an inode of its own, and that inode
// a reference too many.
func eaInodeCount(t *testing.T, image string) string {
	mounted(func(p *populator) { p.set("file", "user.huge", p.bytes(20000)) })(t, image)
	debugfs(t, image, true, "set_inode_field <"+inodeWithValue(t, image)+"> version 2")
	return image
}

// inodeWithValue finds the inode with a value by its flag, EXT4_EA_INODE_FL: it has no name.
func inodeWithValue(t *testing.T, image string) string {
	t.Helper()
	flags := regexp.MustCompile(`Flags: 0x2[0-9a-f]{5}\b`)
	for n := 11; n < 1000; n++ {
		if flags.MatchString(debugfs(t, image, false, "stat <"+itoa(n)+">")) {
			return itoa(n)
		}
	}
	t.Fatal("no inode has the value of an attribute")
	return ""
}

// fillUp leaves fewer free blocks than there are files.
func fillUp(p *populator) {
	for i := range 200 {
		p.write("many/"+itoa(i), []byte{byte(i)})
	}
	f, err := os.Create(p.path("ballast"))
	p.must(err)
	defer f.Close()
	for { // until the disk is full
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	p.must(f.Sync())
}

// externalJournal makes a file system whose journal lies on another device.
func externalJournal(t *testing.T, image string) string {
	t.Helper()
	dir := filepath.Dir(image)
	journal := newImage(t, dir, "journal.img", 8<<20)
	peer(t, "mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev", journal)
	device := attach(t, journal)
	defer try("losetup", "--detach", device)
	peer(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "device="+device, image)
	return image
}

// superblockField changes a field of the superblock and mends the superblock's checksum.
func superblockField(offset int64, size int, change func(uint64) uint64) func(*testing.T, string) string {
	return func(t *testing.T, image string) string {
		sb := peek(t, image, 1024, 1024)
		if size == 4 {
			binary.LittleEndian.PutUint32(sb[offset:], uint32(change(uint64(binary.LittleEndian.Uint32(sb[offset:])))))
		} else {
			binary.LittleEndian.PutUint16(sb[offset:], uint16(change(uint64(binary.LittleEndian.Uint16(sb[offset:])))))
		}
		binary.LittleEndian.PutUint32(sb[1020:], crc32c(^uint32(0), sb[:1020]))
		poke(t, image, 1024, sb)
		return image
	}
}
