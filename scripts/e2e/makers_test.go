package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/ext4"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A maker is a program that makes file systems, and does it in its own way.
type maker struct {
	name  string
	tools []string
	make  func(t *testing.T, dir, tree string) (image string)
	start int64 // of the file system in the image
}

var makers = []maker{
	{"genext2fs", []string{"genext2fs"}, func(t *testing.T, dir, tree string) string {
		image := filepath.Join(dir, "made.img")
		peer(t, "genext2fs", "--root", tree, "--block-size", "1024", "--size-in-blocks", "16384", "--number-of-inodes", "512", image)
		return image
	}, 0},
	{"genext2fs-4k", []string{"genext2fs"}, func(t *testing.T, dir, tree string) string {
		image := filepath.Join(dir, "made.img")
		peer(t, "genext2fs", "--root", tree, "--block-size", "4096", "--size-in-blocks", "4096", image)
		return image
	}, 0},
	{"mke2fs-revision-0", []string{"mke2fs"}, func(t *testing.T, dir, tree string) string {
		return mke2fs(t, dir, 16, "-t", "ext2", "-r", "0", "-O", "none", "-d", tree)
	}, 0},
	{"mke2fs-for-hurd", []string{"mke2fs"}, func(t *testing.T, dir, tree string) string {
		return mke2fs(t, dir, 16, "-t", "ext2", "-o", "hurd", "-d", tree)
	}, 0},
	{"mke2fs-inodes-of-4k", []string{"mke2fs"}, func(t *testing.T, dir, tree string) string {
		return mke2fs(t, dir, 32, "-t", "ext4", "-b", "4096", "-I", "4096", "-N", "512", "-d", tree)
	}, 0},
	{"mke2fs-encrypt", []string{"mke2fs"}, func(t *testing.T, dir, tree string) string {
		return mke2fs(t, dir, 16, "-t", "ext4", "-O", "encrypt", "-d", tree) // no file uses it
	}, 0},
	{"mke2fs-bigalloc-1k", []string{"mke2fs"}, func(t *testing.T, dir, tree string) string {
		return mke2fs(t, dir, 96, "-t", "ext4", "-b", "1024", "-C", "2048", "-O", "bigalloc", "-d", tree)
	}, 0},
	{"genimage", []string{"genimage", "genext2fs"}, genimage, 1 << 20},
	{"systemd-repart", []string{"systemd-repart"}, repart, 1 << 20},
	{"go-diskfs", nil, goDiskfs, 0},
	{"make_ext4fs", []string{"mke2fs", "debugfs"}, makeExt4fs, 0},
}

// TestMakers signs what other programs than mke2fs make, and mke2fs where it is seldom asked to. What e2fsck calls
// clean it calls clean afterwards.
func TestMakers(t *testing.T) {
	bed.Need(t, "e2fsck", "losetup", "openssl", "evmctl")
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			bed.Need(t, m.tools...)
			dir, k := bed.Dir(t), defaultKey(t)
			image := m.make(t, dir, makersTree(t))
			if err := os.Chown(image, bed.Nobody, bed.Nobody); err != nil {
				t.Fatal(err)
			}
			fsckAt(t, image, m.start)
			before := viewImage(t, image, m.start)
			out := filepath.Join(dir, "out.img")
			imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
			fsckAt(t, out, m.start)
			proveInPlace(t, k, image, out)
			imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
			expectSigned(t, k, before, viewImage(t, out, m.start))
		})
	}
}

// makersTree is what the images hold: no more than every maker can.
func makersTree(t *testing.T) string {
	t.Helper()
	tree := bed.Dir(t)
	p := &populator{t: t, root: tree, rnd: newRand(3)}
	for _, n := range []int64{0, 1, 59, 1024, 4096, 5000, 300_000} {
		p.write(fmt.Sprintf("etc/sizes/%d", n), p.bytes(n))
	}
	for i := range 60 {
		p.write(fmt.Sprintf("usr/lib/file-%d", i), p.bytes(100))
	}
	p.must(os.Symlink("../etc/sizes/59", p.path("usr/link")))
	return tree
}

// genimage makes the image of an embedded system, as Buildroot does: an ext4 that it converts from an ext2 of genext2fs.
func genimage(t *testing.T, dir, tree string) string {
	t.Helper()
	config := filepath.Join(dir, "genimage.cfg")
	write(t, config, `image root.ext4 {
	ext4 { label = "root" }
	size = 16M
}
image disk.img {
	hdimage { partition-table-type = "gpt" }
	partition root {
		partition-type-uuid = "L"
		image = "root.ext4"
		offset = 1M
	}
}
`)
	for _, name := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	peer(t, "genimage", "--config", config, "--rootpath", tree, "--inputpath", dir+"/in", "--outputpath", dir+"/out", "--tmppath", dir+"/tmp")
	return filepath.Join(dir, "out/disk.img")
}

// repart makes a disk with a root partition, as mkosi does.
func repart(t *testing.T, _, tree string) string {
	t.Helper()
	disk, _ := repartDisk(t, tree, []partitionFile{{"root", 32, []string{"Format=ext4", "CopyFiles=/"}}})
	return disk
}

// goDiskfs writes the numbers of quota files into the superblock, though it makes none.
func goDiskfs(t *testing.T, dir, tree string) string {
	t.Helper()
	image := newImage(t, dir, "made.img", 64<<20)
	storage, err := file.OpenFromPath(image, false)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	fs, err := ext4.Create(storage, 64<<20, 0, 512, &ext4.Params{})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, tree+"/")
		if err != nil || path == tree {
			return err
		}
		if d.IsDir() {
			return fs.Mkdir(name)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			if _, err = f.Write(b); err != nil {
				return err
			}
		}
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// makeExt4fs lays out what OpenWrt's make_ext4fs does, for which there is no package: its resize inode lists one of the
// reserved blocks twice, in a slot that none belongs to.
func makeExt4fs(t *testing.T, dir, tree string) string {
	t.Helper()
	image := mke2fs(t, dir, 32, "-t", "ext4", "-b", "4096", "-I", "256", "-O", "^metadata_csum,uninit_bg,^64bit,^flex_bg,^huge_file,^dir_index", "-d", tree)
	list := number(t, debugfs(t, image, false, "stat <7>"), `\(DIND\):(\d+)`)
	block := peek(t, image, list*4096, 4096)
	copy(block, block[4:8]) // the first reserved block, where the first block of descriptors would be
	if block[0] == 0 {
		t.Fatal("no block is reserved for descriptors")
	}
	poke(t, image, list*4096, block)
	blocks := number(t, debugfs(t, image, false, "stat <7>"), `Blockcount: (\d+)`)
	debugfs(t, image, true, "set_inode_field <7> blocks "+itoa(int(blocks)+8))
	return image
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTar2ext4: hcsshim makes images of container layers that are full, marked read-only, and not quite what e2fsck
// wants. They can be read; the hints lead to one that is signed.
func TestTar2ext4(t *testing.T) {
	bed.Need(t, "e2fsck", "tune2fs", "resize2fs", "tar", "openssl", "losetup", "evmctl")
	dir, k := bed.Dir(t), defaultKey(t)
	archive, image := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "IMAGE")
	peer(t, "tar", "--create", "--file", archive, "--directory", makersTree(t), ".")
	if out, err := exec.Command("go", "run", pinned(t, "TAR2EXT4"), "-i", archive, "-o", image).CombinedOutput(); err != nil {
		t.Fatalf("tar2ext4: %v\n%s", err, out)
	}
	if err := os.Chown(image, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}
	if r := imagetool(t, "cat", image, "/etc/sizes/1"); r.code != 0 || len(r.stdout) != 1 {
		t.Errorf("%v", r)
	}
	imagetool(t, "verify", "--trust", k.public, image).expect(t, 3)
	before := viewImage(t, image, 0)

	out, _ := hinted{says: "marked read-only"}.follow(t, k, dir, image)
	fsck(t, out)
	imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	expectSigned(t, k, before, viewImage(t, out, 0))
}

// pinned is the version of a program that scripts/tools.env names.
func pinned(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../tools.env")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `=(\S+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("scripts/tools.env does not name %s", name)
	}
	return string(m[1])
}
