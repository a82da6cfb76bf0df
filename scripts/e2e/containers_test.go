package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestNoDisk: what is no disk image that can be read is named, not searched for file systems.
func TestNoDisk(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "openssl")
	dir := bed.Dir(t)
	image := refused{spoil: asMade}.image(t, dir)
	t.Run("qed", func(t *testing.T) {
		out := filepath.Join(bed.Dir(t), "image.qed")
		peer(t, "qemu-img", "convert", "-O", "qed", image, out)
		expectRefused(t, out, "qed")
		r := imagetool(t, "inspect", out)
		if !strings.Contains(strings.ToLower(r.stderr+r.stdout), "qed") {
			t.Errorf("inspect does not name it:\n%v", r)
		}
	})
	t.Run("luks", func(t *testing.T) {
		out := copyImage(t, image, filepath.Join(bed.Dir(t), "luks.img"))
		poke(t, out, 0, []byte("LUKS\xba\xbe\x00\x02"))
		expectRefused(t, out, "luks|encrypt")
	})
	t.Run("gzip", func(t *testing.T) {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		w.Write(peek(t, image, 0, 1<<20))
		w.Close()
		out := newImage(t, bed.Dir(t), "image.gz", 0)
		poke(t, out, 0, packed.Bytes())
		expectRefused(t, out, "gzip|compress")
	})
	t.Run("empty", func(t *testing.T) { expectRefused(t, newImage(t, bed.Dir(t), "empty.img", 0), "empty|short|no ") })
	t.Run("zeros", func(t *testing.T) {
		expectRefused(t, newImage(t, bed.Dir(t), "zeros.img", 1<<20), "file system|partition")
	})
}

// TestPartitionTables: a table whose partitions do not fit the image lies.
func TestPartitionTables(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "sfdisk", "openssl")
	dir := bed.Dir(t)
	fs := refused{spoil: asMade}.image(t, dir)
	disk := gptDisk(t, dir, fs)
	t.Run("truncated-gpt", func(t *testing.T) {
		copied := copyImage(t, disk, filepath.Join(bed.Dir(t), "disk.img"))
		expectRefused(t, truncate(t, copied, 20<<20), "partition|gpt|table|size|beyond")
	})
	t.Run("truncated-mbr", func(t *testing.T) {
		image := newImage(t, bed.Dir(t), "mbr.img", 40<<20)
		peerInput(t, "label: dos\nstart=2048, size=65536, type=83\n", "sfdisk", "--quiet", image)
		peer(t, "dd", "if="+fs, "of="+image, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
		signed := filepath.Join(dir, "signed.img")
		imagetool(t, "sign", "--key", defaultKey(t).private, image, "--out", signed).expect(t, 0)
		fsckAt(t, signed, gptStart)
		expectRefused(t, truncate(t, image, 20<<20), "partition|mbr|table|size|beyond")
	})
	t.Run("mbr-with-logical-partitions", func(t *testing.T) {
		image := newImage(t, bed.Dir(t), "logical.img", 40<<20)
		peerInput(t, "label: dos\n1: start=2048, size=71680, type=5\n5: start=4096, size=65536, type=83\n", "sfdisk", "--quiet", image)
		peer(t, "dd", "if="+fs, "of="+image, "bs=1M", "seek=2", "conv=notrunc,sparse", "status=none")
		signed := filepath.Join(dir, "logical-signed.img")
		imagetool(t, "sign", "--key", defaultKey(t).private, image, "--out", signed, "--partition", "5").expect(t, 0)
		fsckAt(t, signed, 2<<20)
	})
	t.Run("file-system-larger-than-partition", func(t *testing.T) {
		image := newImage(t, bed.Dir(t), "small.img", 40<<20)
		peerInput(t, "label: gpt\nstart=2048, size=32768, type=linux\n", "sfdisk", "--quiet", image)
		peer(t, "dd", "if="+fs, "of="+image, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none", "count=30")
		peerInput(t, "label: gpt\nstart=2048, size=32768, type=linux\n", "sfdisk", "--quiet", image)
		expectRefused(t, image, "partition|size|larger|blocks")
	})
	t.Run("no-such-partition", func(t *testing.T) {
		r := imagetool(t, "sign", "--key", defaultKey(t).private, disk, "--out", filepath.Join(dir, "x.img"), "--partition", "7")
		if r.code == 0 || !strings.Contains(r.stderr, "7") {
			t.Errorf("partition 7 does not exist:\n%v", r)
		}
	})
}

// TestInUse: an image that something else holds is left alone.
func TestInUse(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-io", "openssl")
	t.Run("loop-device", func(t *testing.T) {
		image := refused{spoil: asMade}.image(t, bed.Dir(t))
		device := attach(t, image)
		defer try("losetup", "--detach", device)
		expectRefused(t, image, "loop")
	})
	t.Run("mounted", func(t *testing.T) {
		image := refused{spoil: asMade}.image(t, bed.Dir(t))
		mount(t, image, false, 0)
		expectRefused(t, image, "loop|use|mounted")
	})
	t.Run("qemu", func(t *testing.T) {
		image := refused{spoil: asMade}.image(t, bed.Dir(t))
		release := holdWithQEMU(t, image, "raw")
		expectRefused(t, image, "use|lock|qemu")
		release()
		dir := bed.Dir(t)
		imagetool(t, "sign", "--key", defaultKey(t).private, image, "--out", filepath.Join(dir, "out.img")).expect(t, 0)
	})
}

// holdWithQEMU opens an image for writing with qemu-io, which takes the locks that a running QEMU takes.
func holdWithQEMU(t *testing.T, image, format string) (release func()) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-f", format, image)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = func() {
		stdin.Close()
		cmd.Wait()
	}
	t.Cleanup(release)
	io.WriteString(stdin, "read 0 512\n")
	answer, err := bufio.NewReader(stdout).ReadString('\n') // it has the image open once it has read from it
	if err != nil || !strings.Contains(answer, "read 512") {
		t.Fatalf("qemu-io: %q, %v", answer, err)
	}
	return release
}

// TestOutputs: where the result goes must be said, and nothing is replaced unasked.
func TestOutputs(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image := refused{spoil: asMade}.image(t, dir)
	sum := fileSum(t, image)
	unchanged := func(t *testing.T) {
		t.Helper()
		if fileSum(t, image) != sum {
			t.Error("the input image changed")
		}
	}
	t.Run("neither-out-nor-in-place", func(t *testing.T) {
		imagetool(t, "sign", "--key", k.private, image).expect(t, 2)
		unchanged(t)
	})
	t.Run("same-file", func(t *testing.T) {
		imagetool(t, "sign", "--key", k.private, image, "--out", image).expect(t, 1)
		imagetool(t, "sign", "--key", k.private, image, "--out", image, "--force").expect(t, 1)
		unchanged(t)
	})
	t.Run("same-inode", func(t *testing.T) {
		link := filepath.Join(dir, "link.img")
		if err := os.Link(image, link); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(link)
		imagetool(t, "sign", "--key", k.private, image, "--out", link, "--force").expect(t, 1)
		unchanged(t)
	})
	t.Run("symlink-to-input", func(t *testing.T) {
		link := filepath.Join(dir, "symlink.img")
		if err := os.Symlink(image, link); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(link)
		imagetool(t, "sign", "--key", k.private, image, "--out", link, "--force").expect(t, 1)
		unchanged(t)
	})
	t.Run("exists", func(t *testing.T) {
		out := newImage(t, dir, "exists.img", 5)
		before := fileSum(t, out)
		imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 1)
		if fileSum(t, out) != before {
			t.Error("an existing file was replaced without --force")
		}
		imagetool(t, "sign", "--key", k.private, image, "--out", out, "--force").expect(t, 0)
		fsck(t, out)
		unchanged(t)
	})
	t.Run("no-such-folder", func(t *testing.T) {
		imagetool(t, "sign", "--key", k.private, image, "--out", filepath.Join(dir, "none", "out.img")).expect(t, 1)
	})
}
