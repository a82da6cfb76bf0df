package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// variant is one kind of file system that is mounted, filled by the kernel and signed.
type variant struct {
	name string
	args string // of mke2fs
	mib  int64  // size of the image; 0: 160
	bs   int64  // block size; 0: 4096
	tune string // of tune2fs, after mke2fs
	late string // of tune2fs, after filling: the running kernel may be unable to write with quotas
	bare bool   // without any attribute before signing

	verity bool // with an fs-verity file
	values bool // with attributes larger than a block
}

// full is what a recent mke2fs makes of ext4, spelled out: distributions' mke2fs.conf differ.
const full = "-t ext4 -I 256 -O 64bit,metadata_csum,flex_bg,extent,huge_file,dir_nlink,extra_isize,large_file,dir_index,ext_attr,has_journal,resize_inode "

var variants = []variant{
	{name: "ext4", args: full},
	{name: "1k-blocks", args: full + "-b 1024", bs: 1024},
	{name: "2k-blocks", args: full + "-b 2048", bs: 2048},
	{name: "inode-128", args: full + "-I 128"},
	{name: "inode-128-1k", args: full + "-I 128 -b 1024", bs: 1024},
	{name: "inode-512", args: full + "-I 512"},
	{name: "inode-1024", args: full + "-I 1024"},
	{name: "inode-1024-1k", args: full + "-I 1024 -b 1024", bs: 1024},
	{name: "32bit", args: full + "-O ^64bit"},
	{name: "gdt-csum", args: full + "-O ^metadata_csum,uninit_bg"},
	{name: "gdt-csum-32bit-1k", args: full + "-O ^metadata_csum,uninit_bg,^64bit -b 1024", bs: 1024},
	{name: "no-checksums", args: full + "-O ^metadata_csum,^uninit_bg"},
	{name: "csum-seed", args: full + "-O metadata_csum_seed", tune: "-U random"},
	{name: "meta-bg", args: full + "-O meta_bg,^resize_inode"},
	{name: "meta-bg-1k", args: full + "-O meta_bg,^resize_inode -b 1024 -g 2048", bs: 1024},
	{name: "sparse-super2", args: full + "-O sparse_super2,^resize_inode"},
	{name: "no-sparse-super", args: full + "-O ^sparse_super,^resize_inode -b 1024", bs: 1024},
	{name: "no-flex-bg", args: full + "-O ^flex_bg"},
	{name: "no-flex-bg-1k-groups", args: full + "-O ^flex_bg -b 1024 -g 4096", bs: 1024},
	{name: "orphan-file", args: full + "-O orphan_file"},
	{name: "ext3", args: "-t ext3 -I 256"},
	{name: "ext3-inode-128-1k", args: "-t ext3 -I 128 -b 1024", bs: 1024},
	{name: "ext2", args: "-t ext2 -I 256"},
	{name: "ext2-inode-128-1k", args: "-t ext2 -I 128 -b 1024", bs: 1024},
	{name: "ext2-metadata-csum", args: "-t ext2 -I 256 -O metadata_csum"},
	{name: "inline-data", args: full + "-O inline_data"},
	{name: "inline-data-inode-1024", args: full + "-O inline_data -I 1024 -b 2048", bs: 2048},
	{name: "large-dir", args: full + "-O large_dir"},
	{name: "no-extent", args: full + "-O ^extent,^64bit"},
	{name: "no-extent-1k", args: full + "-O ^extent,^64bit -b 1024", bs: 1024},
	{name: "no-dir-index", args: full + "-O ^dir_index"},
	{name: "no-huge-file", args: full + "-O ^huge_file"},
	{name: "no-resize-inode", args: full + "-O ^resize_inode"},
	{name: "no-ext-attr", args: full + "-O ^ext_attr", bare: true},
	{name: "no-filetype", args: full + "-O ^filetype"},
	{name: "no-extra-isize", args: full + "-O ^extra_isize"},
	{name: "no-journal", args: full + "-O ^has_journal"},
	{name: "fast-commit", args: full + "-O fast_commit"},
	{name: "ea-inode-unused", args: full + "-O ea_inode"},
	{name: "ea-inode", args: full + "-O ea_inode", values: true},
	{name: "ea-inode-inode-128-1k", args: full + "-O ea_inode -I 128 -b 1024", bs: 1024, values: true},
	{name: "ea-inode-no-checksums", args: full + "-O ea_inode,^metadata_csum,^uninit_bg,^extent,^64bit -I 128", values: true},
	{name: "quota", args: full, late: "-O quota"},
	{name: "quota-users", args: full, late: "-Q usrquota,^grpquota"},
	{name: "quota-project", args: full, late: "-O quota,project -Q usrquota,grpquota,prjquota"},
	{name: "quota-project-1k-orphan-file", args: full + "-O orphan_file -b 1024", bs: 1024, late: "-O quota,project -Q usrquota,grpquota,prjquota"},
	{name: "quota-ext2", args: "-t ext2 -I 128", late: "-O quota"},
	{name: "stable-inodes", args: full + "-O stable_inodes"},
	{name: "verity", args: full + "-O verity", verity: true},
	{name: "verity-1k", args: full + "-O verity -b 1024", bs: 1024, verity: true},
	{name: "raid", args: full + "-E stride=16,stripe_width=64"},
	{name: "packed-meta", args: full + "-E packed_meta_blocks=1"},
	{name: "full-inode-tables", args: full + "-E lazy_itable_init=0,lazy_journal_init=0"},
	{name: "half-md4-unsigned", args: full + "-E hash_seed=3b5b0bd6-3c17-4b2b-a0c7-3a1f6d5e9c11"},
	// Free space lies mostly in groups whose bitmaps were never written (BLOCK_UNINIT).
	{name: "bigalloc", args: full + "-O bigalloc -C 16384"},
	{name: "bigalloc-1k", args: full + "-O bigalloc -b 1024 -C 4096", bs: 1024},
	{name: "bigalloc-2k-groups", args: full + "-O bigalloc,^resize_inode -b 2048 -C 8192 -g 2048", bs: 2048},
	{name: "bigalloc-no-flex-bg", args: full + "-O bigalloc,^flex_bg,^metadata_csum,uninit_bg -C 8192 -g 4096"},
	{name: "bigalloc-meta-bg", args: full + "-O bigalloc,meta_bg,^resize_inode,^64bit,^metadata_csum,^uninit_bg -b 1024 -C 2048 -g 1024", bs: 1024},
	{name: "bigalloc-inline-data", args: full + "-O bigalloc,inline_data,orphan_file -C 8192"},
	{name: "bigalloc-inode-128", args: full + "-O bigalloc -I 128 -C 8192"},
	{name: "bigalloc-large-clusters", args: full + "-O bigalloc -C 262144", mib: 1300},
	{name: "bigalloc-ea-inode", args: full + "-O bigalloc,ea_inode -C 16384", values: true},
	{name: "bigalloc-ea-inode-quota", args: full + "-O bigalloc,ea_inode -b 1024 -C 4096", bs: 1024, values: true, late: "-O quota,project -Q usrquota,grpquota,prjquota"},
	{name: "mmp", args: full + "-O mmp"},
	{name: "mmp-bigalloc", args: full + "-O mmp,bigalloc,^metadata_csum,^uninit_bg -C 16384"},
	{name: "many-groups", args: full + "-N 20000", mib: 1300},
	{name: "many-groups-no-flex", args: full + "-O ^flex_bg,^metadata_csum,uninit_bg -N 20000", mib: 1300},
	{name: "many-groups-bigalloc", args: full + "-O bigalloc -b 1024 -C 4096 -g 1024 -N 20000", mib: 600, bs: 1024},
	{name: "many-groups-1k", args: full + "-b 1024 -N 20000", mib: 600, bs: 1024},
}

// make makes and fills the image. It also returns the digests of files that the kernel may be unable to read.
func (v variant) make(t *testing.T, dir string) (image string, sums map[string]string) {
	t.Helper()
	if v.mib == 0 {
		v.mib = 160
	}
	if v.bs == 0 {
		v.bs = 4096
	}
	args := strings.Fields(v.args)
	if v.bs == 4096 {
		args = append(args, "-b", "4096")
	}
	image = mke2fs(t, dir, v.mib, args...)
	if v.tune != "" {
		peer(t, "tune2fs", append(strings.Fields(v.tune), image)...)
	}
	root, umount := mount(t, image, false, 0)
	populate(t, root, v.bs, !v.bare)
	if v.values {
		(&populator{t, root, v.bs, newRand(2)}).largeAttributes()
	}
	if v.verity {
		sums = map[string]string{"/verity": verityFile(t, root, v.bs)}
	}
	umount()
	if v.values {
		mend(t, image) // where blocks become equal and are shared, Linux 6.18 loses count of the references from them
	}
	if v.late != "" {
		if strings.Contains(v.late, "project") {
			projects(t, image)
		}
		peer(t, "tune2fs", append(strings.Fields(v.late), image)...)
		mend(t, image) // tune2fs counts the orphan file, e2fsck does not
	}
	if v.verity {
		sealVerity(t, image)
	}
	spoilUnwritten(t, image, v.bs)
	return image, sums
}

// projects gives files to projects; users and groups own some already.
func projects(t *testing.T, image string) {
	t.Helper()
	var commands []string
	for i, n := range []int{1, 59, 60, 61, 100, 127} {
		commands = append(commands, fmt.Sprintf("set_inode_field /sizes/%d projid %d", n, 1<<(6*i)-1))
	}
	debugfs(t, image, true, commands...)
}

// mend has e2fsck correct what it finds wrong.
func mend(t *testing.T, image string) {
	t.Helper()
	out, err := try("e2fsck", "-fy", image)
	if corrected := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &corrected) && corrected.ExitCode() == 1) {
		t.Fatalf("e2fsck -fy: %v\n%s", err, out)
	}
}

// uninit is a line of debugfs dump_extents: where an unwritten extent lies on the disk.
var uninit = regexp.MustCompile(`(?m)(\d+) - *(\d+) +\d+ Uninit`)

// spoilUnwritten fills what lies under unwritten extents, so that whoever reads the disk there gives itself away.
func spoilUnwritten(t *testing.T, image string, bs int64) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{"all", "tail", "middle", "behind", "zeroed"} {
		// Fails for a file with a block map, which has no unwritten extents.
		out, _ := try("debugfs", "-R", "dump_extents /unwritten/"+name, image)
		for _, m := range uninit.FindAllStringSubmatch(out, -1) {
			first, _ := strconv.ParseInt(m[1], 10, 64)
			last, _ := strconv.ParseInt(m[2], 10, 64)
			if _, err := f.WriteAt(bytes.Repeat([]byte("stale"), int((last-first+1)*bs/5)), first*bs); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestVariants: whatever mke2fs can make and the kernel can mount is signed as evmctl would have, and stays clean.
func TestVariants(t *testing.T) {
	bed.Need(t, "mke2fs", "tune2fs", "e2fsck", "losetup", "evmctl", "openssl", "setfacl", "setcap", "chattr")
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			dir := bed.Dir(t)
			image, sums := v.make(t, dir)
			fsck(t, image) // or the test bed is wrong
			before := viewImage(t, image, 0).know(sums)
			out := proveSigned(t, dir, image)
			expectSigned(t, defaultKey(t), before, viewImage(t, out, 0).know(sums))
			expectContents(t, image, before)
		})
	}
}

// proveSigned signs a whole-disk file system and returns the signed image, which e2fsck finds clean and which comes
// out the same in a copy and in place, and however often it is signed.
func proveSigned(t *testing.T, dir, image string) string {
	t.Helper()
	k, sum := defaultKey(t), fileSum(t, image)
	out, second := filepath.Join(dir, "out.img"), filepath.Join(dir, "second.img")
	imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
	fsck(t, out)
	proveInPlace(t, k, image, out)
	imagetool(t, "sign", "--key", k.private, out, "--out", second).expect(t, 0)
	expectSame(t, "the signed image and a second run over it", out, second)
	os.Remove(second)
	if got := fileSum(t, image); got != sum {
		t.Errorf("the input image changed: SHA-256 %s, was %s", got, sum)
	}
	imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	return out
}

func expectSame(t *testing.T, what, a, b string) {
	t.Helper()
	if x, y := fileSum(t, a), fileSum(t, b); x != y {
		t.Errorf("%s differ: %s, %s", what, x, y)
	}
}

// expectContents compares what imagetool cat prints with what the kernel read. Files of the large folder are left to
// the signatures, which cover the same bytes.
func expectContents(t *testing.T, image string, v view) {
	t.Helper()
	for _, path := range v.regular() {
		if strings.HasPrefix(path, "/big/") || strings.HasPrefix(path, "/shared/") {
			continue
		}
		r := imagetool(t, "cat", image, path)
		if r.code != 0 || sumOf(r.stdout) != v[path].Sum {
			t.Errorf("imagetool cat %q: exit %d, %d bytes of SHA-256 %s, want %d of %s\n%s", path, r.code, len(r.stdout),
				sumOf(r.stdout), v[path].Size, v[path].Sum, r.stderr)
		}
	}
}
