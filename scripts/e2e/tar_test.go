package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// tarTree is a small system with what archives have ways of their own for.
func tarTree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(bed.Dir(t), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &populator{t: t, root: root, bs: 4096, rnd: newRand(5)}
	for _, n := range []int64{0, 1, 511, 512, 513, 10_240, 300_000} {
		p.write("sizes/"+itoa(int(n)), p.bytes(n))
	}
	p.write("usr/bin/"+strings.Repeat("n", 200), []byte("a long name"))
	p.write("usr/bin/tool", []byte("#!/bin/sh\n"))
	p.must(os.Chmod(p.path("usr/bin/tool"), 0o4755))
	p.must(os.Link(p.path("usr/bin/tool"), p.path("usr/bin/zlink")))
	p.must(os.Symlink("tool", p.path("usr/bin/symlink")))
	p.must(unix.Mknod(p.path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	p.must(unix.Mkfifo(p.path("fifo"), 0o600))
	p.at("holes", 5<<20+3, 1<<20, 3<<20, 5<<20)
	p.write("user", p.bytes(100))
	p.set("user", "user.note", []byte("a=b\x00\n"))
	p.run("setcap", "cap_net_raw+ep", p.path("usr/bin/tool"))
	p.write("other", p.bytes(100))
	p.run("evmctl", "ima_sign", "-a", "sha256", "-k", testKey(t, "other", 2048).private, p.path("other"))
	return root
}

// tarMakers are ways of making an archive of a tree.
var tarMakers = map[string][]string{
	"gnu-tar-pax": {"tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--sparse"},
	"gnu-tar-gnu": {"tar", "--format=gnu", "--sparse"},
	"bsdtar-pax":  {"bsdtar", "--format", "pax"},
	"bsdtar-gnu":  {"bsdtar", "--format", "gnutar"},
}

// TestTar signs archives. What is unpacked of them, and every file system that is made of that, has in every file the
// bytes that evmctl makes, and is otherwise what the archive was before.
func TestTar(t *testing.T) {
	bed.Need(t, "tar", "bsdtar", "evmctl", "openssl", "setcap", "mke2fs", "e2fsck", "losetup", "tar2sqfs", "mkfs.erofs")
	tree := tarTree(t)
	for name, maker := range tarMakers {
		t.Run(name, func(t *testing.T) {
			dir := bed.Dir(t)
			archive := filepath.Join(dir, "root.tar")
			peer(t, maker[0], append(append([]string(nil), maker[1:]...), "-cf", archive, "-C", tree, ".")...)
			proveTar(t, dir, archive)
		})
	}
}

// TestTarDebian is TestTar for what mmdebstrap makes.
func TestTarDebian(t *testing.T) {
	bed.Need(t, "mmdebstrap", "tar", "bsdtar", "evmctl", "openssl", "mke2fs", "e2fsck", "losetup", "tar2sqfs", "mkfs.erofs")
	script, err := filepath.Abs("../debian-root")
	if err != nil {
		t.Fatal(err)
	}
	dir := bed.Dir(t)
	archive := filepath.Join(dir, "root.tar")
	peer(t, "cp", strings.TrimSpace(peer(t, script)), archive)
	check := proveTar(t, dir, archive)
	t.Run("mkfs.erofs-tar", func(t *testing.T) { // of Debian 13, which reads archives, but no sparse members
		script, err := filepath.Abs("../erofs")
		if err != nil {
			t.Fatal(err)
		}
		mkfs, err := bed.Output(bed.Peer(script, "trixie"))
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 77 && os.Getenv("VMSEAL_REQUIRE_TOOLS") != "1" {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		erofs := filepath.Join(dir, "tar.erofs")
		peer(t, strings.TrimSpace(string(mkfs)), "--quiet", "--tar=f", erofs, filepath.Join(dir, "signed.tar"))
		check(t, viewImage(t, erofs, 0))
	})
}

// proveTar signs an archive, and looks at the result with the eyes of others. It gives what compares another view with what
// is to be seen.
func proveTar(t *testing.T, dir, archive string) (check func(t *testing.T, v view)) {
	t.Helper()
	k, sum := defaultKey(t), fileSum(t, archive)
	if err := os.Chmod(archive, 0o644); err != nil {
		t.Fatal(err)
	}
	signed, again := filepath.Join(dir, "signed.tar"), filepath.Join(dir, "again.tar")
	imagetool(t, "sign", "--key", k.private, archive, "--out", signed).expect(t, 0)
	imagetool(t, "sign", "--key", k.private, signed, "--out", again).expect(t, 0)
	expectSame(t, "the signed archive and a second run over it", signed, again)
	os.Remove(again)
	imagetool(t, "verify", "--trust", k.cert, signed).expect(t, 0)
	if fileSum(t, archive) != sum {
		t.Error("the archive itself changed")
	}

	before := readView(t, unpacked(t, dir, archive, "tar"))
	digests := wantedDigests(before)
	values := evmctlValues(t, k, "sha256", digests)
	check = func(t *testing.T, v view) {
		t.Helper()
		compareUnpacked(t, before, v)
		expectValues(t, v, func(path string) string { return values[before[path].Sum] })
	}
	run := func(name string, see func(t *testing.T) view) {
		t.Run(name, func(t *testing.T) { check(t, see(t)) })
	}
	root := unpacked(t, dir, signed, "tar")
	run("tar", func(t *testing.T) view { return readView(t, root) })
	run("bsdtar", func(t *testing.T) view { return readView(t, unpacked(t, dir, signed, "bsdtar")) })
	run("mke2fs", func(t *testing.T) view {
		size := int64(64)
		if len(digests) > 1000 {
			size = 700
		}
		image := mke2fs(t, dir, size, "-t", "ext4", "-d", root)
		defer os.Remove(image)
		fsck(t, image)
		imagetool(t, "verify", "--trust", k.cert, image).expect(t, 0)
		return viewImage(t, image, 0)
	})
	run("tar2sqfs", func(t *testing.T) view {
		squashfs := filepath.Join(dir, "root.squashfs")
		in, err := os.Open(signed)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := bed.Peer("tar2sqfs", "--quiet", squashfs)
		cmd.Stdin = in
		if _, err := bed.Output(cmd); err != nil {
			t.Fatal(err)
		}
		return viewImage(t, squashfs, 0)
	})
	run("mkfs.erofs", func(t *testing.T) view {
		erofs := filepath.Join(dir, "root.erofs")
		peer(t, "mkfs.erofs", "--quiet", erofs, root)
		return viewImage(t, erofs, 0)
	})
	return check
}

// unpacked unpacks an archive with all that it has into a folder of its own.
func unpacked(t *testing.T, dir, archive, tool string) string {
	t.Helper()
	root, err := os.MkdirTemp(dir, tool+"-")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-xpf", archive, "-C", root}
	if tool == "tar" {
		args = append([]string{"--numeric-owner", "--xattrs", "--xattrs-include=*", "--warning=no-unknown-keyword"}, args...)
	}
	peer(t, tool, args...)
	return root
}

// compareUnpacked compares what an archive is about: not numbers of inodes, nor times but that of a file's contents, in
// seconds.
func compareUnpacked(t *testing.T, before, after view) {
	t.Helper()
	c := &complaints{t: t}
	defer c.close()
	about := func(e *entry) entry {
		a := entry{Mode: e.Mode, UID: e.UID, GID: e.GID, Rdev: e.Rdev, Sum: e.Sum, Target: e.Target}
		if e.regular() {
			a.Size, a.Nlink, a.Mtime = e.Size, e.Nlink, e.Mtime/1e9
		}
		return a
	}
	for path, a := range after {
		b := before[path]
		switch {
		case path == "/" || path == "/lost+found":
		case b == nil:
			c.add("%q appeared", path)
		case about(a).describe() != about(b).describe():
			c.add("%q changed:\nbefore %s\nafter  %s", path, about(b).describe(), about(a).describe())
		default:
			compareXattrs(c, path, b, a)
		}
	}
	for path := range before {
		if after[path] == nil {
			c.add("%q disappeared", path)
		}
	}
}
