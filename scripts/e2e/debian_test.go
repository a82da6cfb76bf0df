package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// debianRoot unpacks the Debian root and adds attributes of every kind to some of its files.
func debianRoot(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs("../debian-root")
	if err != nil {
		t.Fatal(err)
	}
	tarball := strings.TrimSpace(peer(t, script))
	root := filepath.Join(bed.Dir(t), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	peer(t, "tar", "-x", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f", tarball, "-C", root)
	p := &populator{t: t, root: root, bs: 4096, rnd: newRand(3)}
	p.packageAttributes()
	return root
}

// packageAttributes gives files of a Debian system what such files carry in practice.
func (p *populator) packageAttributes() {
	label := []byte("system_u:object_r:bin_t:s0\x00")
	p.set("usr/bin/dash", "security.selinux", label)
	p.set("usr/bin/bash", "user.origin", []byte("package bash"))
	p.set("usr/bin/bash", "security.selinux", label)
	p.run("setcap", "cap_net_raw+ep", p.path("usr/bin/cat"))
	p.run("setcap", "cap_setuid,cap_setgid+ep", p.path("usr/bin/newgrp"))
	p.run("setfacl", "-m", "u:70000:r", p.path("etc/shadow"))
	p.run("setfacl", "-d", "-m", "u:70000:rx", p.path("srv"))
	p.run("evmctl", "ima_sign", "-a", "sha256", "-k", testKey(p.t, "other", 2048).private, p.path("usr/bin/ls"))
}

const gptStart = 1 << 20 // where the one partition of a GPT test disk begins

// gptDisk puts a file system into the one partition of a GPT disk.
func gptDisk(t *testing.T, dir, fs string) string {
	t.Helper()
	info, err := os.Stat(fs)
	if err != nil {
		t.Fatal(err)
	}
	disk := newImage(t, dir, "disk.img", gptStart+info.Size()+1<<20)
	sectors := info.Size() / 512
	peerInput(t, fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=linux, name=root\n", gptStart/512, sectors), "sfdisk", "--quiet", disk)
	peer(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	return disk
}

// TestDebian signs a whole Debian root, as a bare file system and inside a GPT disk, and compares every file with what
// evmctl writes through a loop mount.
func TestDebian(t *testing.T) {
	bed.Need(t, "mmdebstrap", "mke2fs", "e2fsck", "losetup", "evmctl", "openssl", "sfdisk", "setfacl", "setcap", "tar")
	dir := bed.Dir(t)
	image := mke2fs(t, dir, 700, "-t", "ext4", "-d", debianRoot(t))
	k, before := defaultKey(t), viewImage(t, image, 0)
	if n := len(before.regular()); n < 5000 {
		t.Fatalf("only %d files in the Debian root", n)
	}

	copied := copyImage(t, image, filepath.Join(dir, "evmctl.img"))
	mounted, umount := mount(t, copied, false, 0)
	evmctlTree(t, k, mounted)
	umount()
	want := viewImage(t, copied, 0)
	os.Remove(copied)

	check := func(t *testing.T, v view) {
		compareViews(t, before, v, true)
		expectValues(t, v, func(path string) string { return want[path].Xattrs[imaName] })
		t.Logf("%d names compared with evmctl", len(v.regular()))
	}
	t.Run("file-system", func(t *testing.T) {
		check(t, viewImage(t, proveSigned(t, dir, image), 0))
	})
	t.Run("gpt", func(t *testing.T) {
		dir := bed.Dir(t)
		disk := gptDisk(t, dir, image)
		sum, out, second := fileSum(t, disk), filepath.Join(dir, "out.img"), filepath.Join(dir, "second.img")
		imagetool(t, "sign", "--key", k.private, disk, "--out", out).expect(t, 0)
		fsckAt(t, out, gptStart)
		check(t, viewImage(t, out, gptStart))
		if fileSum(t, disk) != sum {
			t.Error("the input image changed")
		}
		imagetool(t, "sign", "--key", k.private, out, "--out", second).expect(t, 0)
		expectSame(t, "the signed disk and a second run over it", out, second)
		proveInPlace(t, k, disk, out)
		peer(t, "sfdisk", "--verify", out)
		imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	})
	t.Run("ctime", func(t *testing.T) { // SOURCE_DATE_EPOCH gives the changed files their ctime, and nothing else
		out := filepath.Join(dir, "epoch.img")
		cmd := bed.AsNobody("imagetool", "sign", "--key", k.private, image, "--out", out)
		cmd.Env = bed.Environment("SOURCE_DATE_EPOCH=1700000000")
		finish(t, cmd).expect(t, 0)
		fsck(t, out)
		v := viewImage(t, out, 0)
		compareViews(t, before, v, false)
		for _, path := range v.regular() {
			if v[path].Ctime != 1700000000e9 {
				t.Fatalf("%q: ctime %d, want 1700000000", path, v[path].Ctime)
			}
		}
	})
}

// TestLiveTree signs a mounted Debian root with signer, as evmctl would.
func TestLiveTree(t *testing.T) {
	bed.Need(t, "mmdebstrap", "mke2fs", "losetup", "evmctl", "openssl", "setfacl", "setcap", "tar")
	dir := bed.Dir(t)
	image := mke2fs(t, dir, 700, "-t", "ext4", "-d", debianRoot(t))
	k, before := defaultKey(t), viewImage(t, image, 0)
	mounted, umount := mount(t, image, false, 0)
	signer(t, "sign", "--key", k.private, mounted).expect(t, 0)
	signer(t, "verify", "--trust", k.cert, mounted).expect(t, 0)
	umount()
	after := viewImage(t, image, 0)
	values := wantedValues(t, before)
	expectValues(t, after, func(path string) string { return values[before[path].Sum] })
	compareViews(t, before, after, false) // writing through the kernel moves ctime
	fsck(t, image)
}

// jsonLines decodes --json output: one object per line.
func jsonLines(t *testing.T, out string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("not a JSON object: %q: %v", line, err)
		}
		lines = append(lines, v)
	}
	return lines
}
