package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// expectSealed: the image is refused because of its seal, and named by inspect, with nothing written. With --break-seals
// it is signed, and whoever made the seal agrees that it is broken. What was signed and sealed then may be signed again.
func expectSealed(t *testing.T, image, want string, intact func(t *testing.T, image string) bool, args ...string) {
	t.Helper()
	k, dir := defaultKey(t), bed.Dir(t)
	if !intact(t, image) {
		t.Fatal("the seal does not hold before")
	}
	sum, out := fileSum(t, image), filepath.Join(dir, "out.img")
	sign := append([]string{"sign", "--key", k.private}, args...)
	for _, how := range [][]string{{"--out", out}, {"--in-place"}, {"--dry-run"}} {
		r := imagetool(t, append(append(sign, image), how...)...).expect(t, 1)
		for _, word := range []string{want, "sign first, then seal", "--break-seals"} {
			if !regexp.MustCompile(`(?i)` + word).MatchString(r.stderr) {
				t.Errorf("sign %v does not say %q:\n%v", how, word, r)
			}
		}
	}
	if _, err := os.Stat(out); err == nil || fileSum(t, image) != sum {
		t.Error("something was written")
	}
	if r := imagetool(t, "inspect", image).expect(t, 0); !regexp.MustCompile(`(?i)other integrity layers:\n.*` + want).MatchString(r.stdout) {
		t.Errorf("inspect does not say %q:\n%v", want, r)
	}
	imagetool(t, append(append(sign, image), "--break-seals", "--out", out)...).expect(t, 0)
	if intact(t, out) {
		t.Error("the seal holds after --break-seals, so there was no need to refuse")
	}
}

// expectSignedFirst: an image that was signed, and then sealed, keeps its bytes when it is signed again.
func expectSignedFirst(t *testing.T, image string, args ...string) {
	t.Helper()
	k := defaultKey(t)
	sum := fileSum(t, image)
	imagetool(t, append([]string{"sign", "--key", k.private, image, "--in-place"}, args...)...).expect(t, 0)
	if fileSum(t, image) != sum {
		t.Error("signing again changed it")
	}
	imagetool(t, append([]string{"verify", "--trust", k.public, image}, args...)...).expect(t, 0)
}

const rootType, rootVerityType, linuxType = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

// verityDisk puts a file system and the hash tree over it into partitions of these types, and gives the root hash.
func verityDisk(t *testing.T, fs, dataType, treeType string, args ...string) (disk, root string) {
	t.Helper()
	dir := bed.Dir(t)
	tree := newImage(t, dir, "tree.img", 4<<20)
	root = rootHash(t, peer(t, "veritysetup", append(append([]string{"format"}, args...), fs, tree)...))
	disk = newImage(t, dir, "disk.img", 64<<20)
	peerInput(t, fmt.Sprintf("label: gpt\nstart=2048, size=65536, type=%s\nstart=67584, size=8192, type=%s\n", dataType, treeType), "sfdisk", "--quiet", disk)
	peer(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	peer(t, "dd", "if="+tree, "of="+disk, "bs=1M", "seek=33", "conv=notrunc,sparse", "status=none")
	return disk, root
}

func rootHash(t *testing.T, out string) string {
	t.Helper()
	m := regexp.MustCompile(`Root hash:\s+([0-9a-f]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("veritysetup tells no root hash:\n%s", out)
	}
	return m[1]
}

// part takes bytes out of an image, for tools that know files only.
func part(t *testing.T, image string, offset, size int64) string {
	t.Helper()
	out := newImage(t, bed.Dir(t), "part.img", size)
	poke(t, out, 0, peek(t, image, offset, int(size)))
	return out
}

// TestVerity: a file system under dm-verity, with the tree in a partition of its own or behind it.
func TestVerity(t *testing.T) {
	bed.Need(t, "mke2fs", "veritysetup", "sfdisk", "openssl")
	fs := mke2fs(t, bed.Dir(t), 32, "-t", "ext4", "-d", someFiles(t))
	verified := func(root string) func(*testing.T, string) bool {
		return func(t *testing.T, disk string) bool {
			_, err := try("veritysetup", "verify", part(t, disk, 1<<20, 32<<20), part(t, disk, 33<<20, 4<<20), root)
			return err == nil
		}
	}
	for name, c := range map[string]struct {
		dataType, treeType string
		args               []string
	}{
		"typed":        {rootType, rootVerityType, nil},
		"untyped":      {linuxType, linuxType, nil},
		"small-blocks": {linuxType, linuxType, []string{"--data-block-size=1024", "--hash-block-size=1024"}},
		"sha1":         {linuxType, linuxType, []string{"--hash=sha1", "--salt=-"}},
		"sha512":       {linuxType, linuxType, []string{"--hash=sha512", "--salt=0123"}},
		"chrome-os":    {linuxType, linuxType, []string{"--format=0", "--hash=sha1"}},
		"unknown-hash": {linuxType, linuxType, []string{"--hash=sha3-256"}},
	} {
		t.Run(name, func(t *testing.T) {
			disk, root := verityDisk(t, fs, c.dataType, c.treeType, c.args...)
			args := []string{"--leave-out", "2"}
			if c.treeType == rootVerityType {
				args = nil // nothing can be executed from there
			}
			expectSealed(t, disk, "partition 2 has the dm-verity hash tree of partition 1", verified(root), args...)
		})
	}
	t.Run("signed-first", func(t *testing.T) {
		signed := filepath.Join(bed.Dir(t), "signed.img")
		imagetool(t, "sign", "--key", defaultKey(t).private, fs, "--out", signed).expect(t, 0)
		disk, root := verityDisk(t, signed, rootType, rootVerityType)
		expectSignedFirst(t, disk)
		if !verified(root)(t, disk) {
			t.Error("the seal is broken")
		}
	})
	t.Run("of-another", func(t *testing.T) { // a tree that fits no file system here keeps nobody from signing
		disk, _ := verityDisk(t, mke2fs(t, bed.Dir(t), 32, "-t", "ext4"), linuxType, linuxType)
		peer(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek=1", "conv=notrunc", "status=none")
		imagetool(t, "sign", "--key", defaultKey(t).private, disk, "--leave-out", "2", "--in-place").expect(t, 0)
	})
	t.Run("behind", func(t *testing.T) {
		image := copyImage(t, fs, filepath.Join(bed.Dir(t), "behind.img"))
		truncate(t, image, 40<<20)
		const blocks, offset = 32 << 20 / 4096, 33<<20 + 512
		options := []string{"--data-blocks=" + itoa(blocks), "--hash-offset=" + itoa(offset)}
		root := rootHash(t, peer(t, "veritysetup", append(append([]string{"format"}, options...), image, image)...))
		intact := func(t *testing.T, image string) bool {
			_, err := try("veritysetup", append(append([]string{"verify"}, options...), image, image, root)...)
			return err == nil
		}
		expectSealed(t, image, "behind the file system of the whole disk, at byte 34603520, lies the dm-verity hash tree", intact)
	})
}

// TestAVB: a footer by the layout of avbtool, behind a file system.
func TestAVB(t *testing.T) {
	bed.Need(t, "mke2fs", "openssl")
	image := mke2fs(t, bed.Dir(t), 32, "-t", "ext4", "-d", someFiles(t))
	truncate(t, image, 40<<20)
	digest := fileSum(t, part(t, image, 0, 32<<20))
	footer := append([]byte("AVBf"), make([]byte, 60)...)
	for i, n := range map[int]uint64{4: 1 << 32, 12: 32 << 20, 20: 32 << 20, 28: 256} { // version 1.0, the image before, vbmeta
		binary.BigEndian.PutUint64(footer[i:], n)
	}
	poke(t, image, 32<<20, []byte("AVB0"))
	poke(t, image, 40<<20-64, footer)
	expectSealed(t, image, "the whole disk ends with a footer of Android Verified Boot",
		func(t *testing.T, image string) bool { return fileSum(t, part(t, image, 0, 32<<20)) == digest })
}

// TestOSTree: ostree fsck says whether the objects of a repository are as they were committed.
func TestOSTree(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "ostree", "openssl")
	committed := func(t *testing.T, mode string) string {
		image := mke2fs(t, bed.Dir(t), 64, "-t", "ext4")
		dir, umount := mount(t, image, false, 0)
		defer umount()
		repo := "--repo=" + filepath.Join(dir, "ostree/repo")
		if err := os.MkdirAll(filepath.Join(dir, "ostree/repo"), 0o755); err != nil {
			t.Fatal(err)
		}
		peer(t, "ostree", repo, "init", "--mode="+mode)
		peer(t, "ostree", repo, "commit", "--branch=os", "--tree=dir="+someFiles(t))
		if mode == "bare" { // as in a deployment, the objects have other names, too
			deploy := filepath.Join(dir, "ostree/deploy/os/deploy")
			if err := os.MkdirAll(deploy, 0o755); err != nil {
				t.Fatal(err)
			}
			peer(t, "ostree", repo, "checkout", "--require-hardlinks", "os", filepath.Join(deploy, "0"))
		}
		return image
	}
	intact := func(t *testing.T, image string) bool {
		dir, umount := mount(t, image, true, 0)
		defer umount()
		_, err := try("ostree", "--repo="+filepath.Join(dir, "ostree/repo"), "fsck")
		return err == nil
	}
	t.Run("bare", func(t *testing.T) {
		expectSealed(t, committed(t, "bare"), "/ostree/repo in the whole disk is an OSTree repository in mode bare", intact)
	})
	t.Run("bare-user", func(t *testing.T) { // attributes of the objects do not count
		image := committed(t, "bare-user")
		imagetool(t, "sign", "--key", defaultKey(t).private, image, "--in-place").expect(t, 0)
		if !intact(t, image) {
			t.Error("the repository is damaged")
		}
	})
	t.Run("signed-first", func(t *testing.T) { // what was committed with its labels may be signed again
		k := defaultKey(t)
		files := someFiles(t)
		image := mke2fs(t, bed.Dir(t), 64, "-t", "ext4", "-d", files)
		rules := filepath.Join(bed.Dir(t), "rules")
		if err := os.WriteFile(rules, []byte("skip /ostree/repo/**\nsign /ostree/repo/objects/**/*.file\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		imagetool(t, "sign", "--key", k.private, image, "--in-place").expect(t, 0)
		func() {
			dir, umount := mount(t, image, false, 0)
			defer umount()
			if err := os.MkdirAll(filepath.Join(dir, "ostree/repo"), 0o755); err != nil {
				t.Fatal(err)
			}
			repo := "--repo=" + filepath.Join(dir, "ostree/repo")
			peer(t, "ostree", repo, "init", "--mode=bare")
			peer(t, "ostree", repo, "commit", "--branch=os", "--tree=dir="+filepath.Join(dir, "bin"))
		}()
		if !intact(t, image) {
			t.Fatal("the repository does not hold before")
		}
		expectSignedFirst(t, image, "--rules", rules)
	})
}

// someFiles makes a folder with files to be signed.
func someFiles(t *testing.T) string {
	t.Helper()
	dir := bed.Dir(t)
	for name, text := range map[string]string{"bin/tool": "#!/bin/sh\n", "bin/other": "other\n", "etc/hello": "hi\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
