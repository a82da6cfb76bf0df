package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// hinted wants a run to end with this code and to say this, and gives what the groups of a pattern find in a hint of it.
func (r result) hinted(t *testing.T, code int, says, pattern string) []string {
	t.Helper()
	if r.code != code || !strings.Contains(r.stderr, says) {
		t.Fatalf("want exit code %d, and a message about %q:\n%v", code, says, r)
	}
	m := regexp.MustCompile(`(?m)^hint: .*?` + pattern).FindStringSubmatch(r.stderr)
	if m == nil {
		t.Fatalf("no hint has %q:\n%v", pattern, r)
	}
	return m[1:]
}

// asPrinted runs a command of ours as a hint prints it, in a folder, with what a person puts in place of its words.
func asPrinted(t *testing.T, dir, command string, words ...string) result {
	t.Helper()
	cmd := exec.Command("sh", "-c", strings.NewReplacer(words...).Replace(command))
	cmd.Dir, cmd.Env = dir, append(bed.Environment(), "PATH="+filepath.Dir(bed.Program("signer"))+":"+os.Getenv("PATH"))
	return finish(t, cmd)
}

// written makes a file that ordinary users can read.
func written(t *testing.T, path, text string) string {
	t.Helper()
	write(t, path, text)
	return path
}

// partitionedDisk has a file system at each of these sectors.
func partitionedDisk(t *testing.T, table string, sectors ...int) string {
	t.Helper()
	disk := newImage(t, bed.Dir(t), "disk.img", 48<<20)
	peerInput(t, table, "sfdisk", "--quiet", disk)
	for _, sector := range sectors {
		fs := mke2fs(t, bed.Dir(t), 16, "-t", "ext4", "-d", someFiles(t))
		peer(t, "dd", "if="+fs, "of="+disk, "bs=512", "seek="+itoa(sector), "conv=notrunc,sparse", "status=none")
	}
	return disk
}

// expectGood: an image was signed, and e2fsck has nothing against it.
func expectGood(t *testing.T, image string, args ...string) {
	t.Helper()
	fsck(t, image)
	imagetool(t, append([]string{"verify", "--trust", defaultKey(t).public, image}, args...)...).expect(t, 0)
}

// TestWaysOut takes the options that hints name, on the images for which they were given. Commands of others are those of
// TestHints.
func TestWaysOut(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "debugfs", "sfdisk", "qemu-img", "losetup", "evmctl", "openssl")
	k := defaultKey(t)
	sign := func(t *testing.T, image string, args ...string) (r result, out string) {
		t.Helper()
		out = filepath.Join(bed.Dir(t), "out.img")
		return imagetool(t, append([]string{"sign", "--key", k.private, image, "--out", out}, args...)...), out
	}

	t.Run("far-too-sparse", func(t *testing.T) {
		tree := someFiles(t)
		truncate(t, written(t, filepath.Join(tree, "holes"), ""), 1<<30+17*(16<<20))
		image := mke2fs(t, bed.Dir(t), 16, "-t", "ext4", "-d", tree)
		r, _ := sign(t, image)
		found := r.hinted(t, 1, "most of them holes", `'(skip PATH)' in a file for (--rules), or read it all with (--allow-sparse)`)
		path := regexp.MustCompile(`The largest is (/\S+)`).FindStringSubmatch(r.stderr)[1]
		rules := written(t, filepath.Join(bed.Dir(t), "rules"), strings.ReplaceAll(found[0], "PATH", path)+"\n")
		r, out := sign(t, image, found[1], rules)
		r.expect(t, 0)
		expectGood(t, out, found[1], rules)
		r, out = sign(t, image, found[2])
		r.expect(t, 0)
		expectGood(t, out, found[2])
	})
	t.Run("evm", func(t *testing.T) {
		image := mke2fs(t, bed.Dir(t), 16, "-t", "ext4", "-d", someFiles(t))
		debugfs(t, image, true, "ea_set /etc/hello security.evm x")
		r, _ := sign(t, image)
		r, out := sign(t, image, r.hinted(t, 1, "security.evm", `(--drop-evm)`)...)
		r.expect(t, 0)
		expectGood(t, out)
	})
	t.Run("keep-ecdsa", func(t *testing.T) { // as Fedora's packages bring it
		dir, tree := bed.Dir(t), someFiles(t)
		peer(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-subj", "/CN=vendor", "-keyout", dir+"/ec.pem", "-out", dir+"/ec.crt")
		peer(t, "evmctl", "ima_sign", "--hashalgo", "sha256", "--key", dir+"/ec.pem", filepath.Join(tree, "bin/tool"))
		image := mke2fs(t, bed.Dir(t), 16, "-t", "ext4", "-d", tree)
		if err := os.Chmod(dir+"/ec.crt", 0o644); err != nil {
			t.Fatal(err)
		}
		r, _ := sign(t, image, "--keep-valid", dir+"/ec.crt")
		found := r.hinted(t, 1, "an elliptic curve key", `'(skip PATH)' in a file for (--rules)`)
		r, out := sign(t, image, found[1], written(t, dir+"/rules", strings.ReplaceAll(found[0], "PATH", "/bin/tool")+"\n"))
		r.expect(t, 0)
		before, after := viewImage(t, image, 0), viewImage(t, out, 0)
		if label := before["/bin/tool"].Xattrs[imaName]; label == "" || after["/bin/tool"].Xattrs[imaName] != label {
			t.Error("the label was not kept")
		}
	})
	t.Run("output-exists", func(t *testing.T) {
		image, out := tinyImage(t, bed.Dir(t)), filepath.Join(bed.Dir(t), "out.img")
		args := []string{"sign", "--key", k.private, image, "--out", out}
		imagetool(t, args...).expect(t, 0)
		found := imagetool(t, args...).hinted(t, 1, "exists", `(--force)`)
		imagetool(t, append(args, found...)...).expect(t, 0)
		expectGood(t, out)
	})
	t.Run("no-output", func(t *testing.T) {
		image := tinyImage(t, bed.Dir(t))
		found := imagetool(t, "sign", "--key", k.private, image).hinted(t, 2, "has to go somewhere", `(--out) FILE .*; (--in-place) .*; (--dry-run)`)
		out := filepath.Join(bed.Dir(t), "out.img")
		imagetool(t, "sign", "--key", k.private, image, found[2]).expect(t, 0)
		imagetool(t, "sign", "--key", k.private, image, found[0], out).expect(t, 0)
		expectGood(t, out)
		imagetool(t, "sign", "--key", k.private, image, found[1]).expect(t, 0)
		expectSame(t, "a copy and the image itself", out, image)
	})
	t.Run("dry-run-without-key", func(t *testing.T) {
		image := tinyImage(t, bed.Dir(t))
		found := imagetool(t, "sign", image, "--dry-run").hinted(t, 2, "key", `(--cert) FILE, or with (--bits) N`)
		imagetool(t, "sign", image, "--dry-run", found[0], k.cert).expect(t, 0)
		imagetool(t, "sign", image, "--dry-run", found[1], "2048").expect(t, 0)
	})
	t.Run("strict-rules", func(t *testing.T) {
		image, rules := tinyImage(t, bed.Dir(t)), written(t, filepath.Join(bed.Dir(t), "rules"), "skip /none\n")
		r, _ := sign(t, image, "--rules", rules, "--strict-rules")
		r.hinted(t, 1, "matches no file", `leave out (--strict-rules)`)
		r, out := sign(t, image, "--rules", rules)
		r.expect(t, 0)
		expectGood(t, out)
	})
	t.Run("left-out", func(t *testing.T) {
		disk := partitionedDisk(t, "label: gpt\nstart=2048, size=32768, type=linux\nstart=40960, size=8192, type=linux\n", 2048)
		poke(t, disk, 40960*512, []byte("something"))
		r, _ := sign(t, disk)
		found := strings.Fields(r.hinted(t, 3, "not signed: partition 2", `(--leave-out \d+) says`)[0])
		r, out := sign(t, disk, found...)
		r.expect(t, 0)
		fsckAt(t, out, 1<<20)
		imagetool(t, append([]string{"verify", "--trust", k.public, out}, found...)...).expect(t, 0)
	})
	t.Run("which-partition", func(t *testing.T) {
		disk := partitionedDisk(t, "label: gpt\nstart=2048, size=32768, type=linux\nstart=40960, size=32768, type=linux\n", 2048, 40960)
		found := imagetool(t, "ls", disk, "/etc").hinted(t, 1, "partition", `(--partition) N, or put the number in front of the path: (2:/etc), vg/root:/etc; '(imagetool inspect IMAGE)'`)
		imagetool(t, "ls", disk, "/etc", found[0], "1").expect(t, 0)
		imagetool(t, "ls", disk, found[1]).expect(t, 0)
		if r := asPrinted(t, filepath.Dir(disk), found[2], "IMAGE", disk); r.code != 0 || strings.Count(r.stdout, ": ext4, ") != 2 {
			t.Errorf("inspect does not list them:\n%v", r)
		}
	})
	t.Run("nothing-to-sign", func(t *testing.T) {
		disk := partitionedDisk(t, "label: gpt\nstart=2048, size=32768, type=swap\n")
		r, _ := sign(t, disk)
		command := r.hinted(t, 1, "has no ext2, ext3 or ext4", `'(imagetool inspect IMAGE)'`)
		if r := asPrinted(t, filepath.Dir(disk), command[0], "IMAGE", disk); r.code != 0 || !strings.Contains(r.stdout, "partition 1: ") {
			t.Errorf("inspect does not list it:\n%v", r)
		}
	})
	t.Run("hard-link", func(t *testing.T) {
		image := tinyImage(t, bed.Dir(t))
		if err := os.Link(image, image+".backup"); err != nil {
			t.Fatal(err)
		}
		inPlace(t, k, image).hinted(t, 1, "2 names", `(--out)`)
		r, out := sign(t, image)
		r.expect(t, 0)
		expectGood(t, out)
	})
	t.Run("container-by-another-name", func(t *testing.T) {
		dir := bed.Dir(t)
		disk := filepath.Join(dir, "disk")
		peer(t, "qemu-img", "convert", "-O", "qcow2", tinyImage(t, bed.Dir(t)), disk)
		r, _ := sign(t, disk)
		found := r.hinted(t, 1, "its name does not say so", `(--format) raw, or --format with the name`)
		r, out := sign(t, disk, found[0], "qcow2")
		r.expect(t, 0)
		imagetool(t, "verify", "--trust", k.public, out, "--format", "qcow2").expect(t, 0)
	})
	t.Run("not-in-place", func(t *testing.T) {
		disk := filepath.Join(bed.Dir(t), "disk.vmdk")
		peer(t, "qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", tinyImage(t, bed.Dir(t)), disk)
		if err := os.Chown(disk, bed.Nobody, bed.Nobody); err != nil {
			t.Fatal(err)
		}
		inPlace(t, k, disk).hinted(t, 1, "cannot be changed in place", `(--out)`)
		out := filepath.Join(bed.Dir(t), "out.vmdk")
		imagetool(t, "sign", "--key", k.private, disk, "--out", out).expect(t, 0)
		imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	})
}

// TestCommandsOfHints runs the commands of ours that hints name, as they are printed.
func TestCommandsOfHints(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "losetup", "mkfs.xfs", "mkfs.btrfs", "mksquashfs", "unsquashfs", "evmctl", "openssl", "setfattr")
	k := defaultKey(t)

	t.Run("recover", func(t *testing.T) {
		dir := filepath.Join(memoryDir(t, "64m"), `it's a "$HOME" & more`)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, bed.Nobody, bed.Nobody); err != nil {
			t.Fatal(err)
		}
		tr := newTrial(t, dir, tinyImage(t, bed.Dir(t)))
		half, log := tr.halfWay(t)
		command := imagetool(t, "verify", "--trust", k.public, tr.image).hinted(t, 1, "undo log", `'(imagetool recover .*)' brings back`)
		asPrinted(t, dir, command[0]).expect(t, 0)
		if o := tr.outcome(t); o != untouched {
			t.Errorf("the image is %s", o)
		}

		renamed, named := copyImage(t, half, filepath.Join(bed.Dir(t), "renamed.img")), copyImage(t, log, filepath.Join(bed.Dir(t), "log"))
		command = inPlace(t, k, renamed).hinted(t, 1, "not unmounted cleanly", `'(imagetool recover --log LOG IMAGE)'`)
		asPrinted(t, dir, command[0], "LOG", named, "IMAGE", renamed).expect(t, 0)
		expectSame(t, "the image before, and recovered", tr.saved, renamed)

		moved := copyImage(t, half, filepath.Join(bed.Dir(t), "moved.img"))
		found := imagetool(t, "recover", moved).hinted(t, 1, "there is no undo log", `is named with (--log)`)
		imagetool(t, "recover", moved, found[0], copyImage(t, log, filepath.Join(bed.Dir(t), "log"))).expect(t, 0)
		expectSame(t, "the image before, and recovered", tr.saved, moved)

		spoilt := copyImage(t, half, filepath.Join(bed.Dir(t), "spoilt.img"))
		truncate(t, copyImage(t, log, spoilt+logSuffix), 600)
		found = imagetool(t, "recover", spoilt).hinted(t, 1, "cut short", `(--log) names another file`)
		imagetool(t, "recover", spoilt, found[0], copyImage(t, log, filepath.Join(bed.Dir(t), "log"))).expect(t, 0)
		expectSame(t, "the image before, and recovered", tr.saved, spoilt)
	})
	t.Run("changed-since", func(t *testing.T) {
		tr := newTrial(t, memoryDir(t, "64m"), tinyImage(t, bed.Dir(t)))
		tr.halfWay(t)
		try("e2fsck", "-fy", tr.image)
		imagetool(t, "recover", tr.image).hinted(t, 1, "changed", `let (e2fsck) look at it and (remove the log)`)
		try("e2fsck", "-fy", tr.image)
		if err := os.Remove(tr.log()); err != nil {
			t.Fatal(err)
		}
		inPlace(t, k, tr.image).expect(t, 0)
		expectGood(t, tr.image)
	})
	t.Run("help", func(t *testing.T) {
		command := imagetool(t, "sign", "--no-such").hinted(t, 2, "unknown flag", `'(imagetool sign --help)'`)
		asPrinted(t, bed.Dir(t), command[0]).expect(t, 0)
	})
	t.Run("key-new", func(t *testing.T) {
		dir, image := bed.Dir(t), tinyImage(t, bed.Dir(t))
		peer(t, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", dir+"/ec.pem")
		command := signer(t, "blob", "--key", dir+"/ec.pem", image).hinted(t, 1, "not an RSA key", `'(signer key new --out DIR)'`)
		asPrinted(t, dir, command[0], "DIR", "new").expect(t, 0)
		if r := signer(t, "blob", "--key", dir+"/new/private.pem", image).expect(t, 0); !strings.HasPrefix(r.stdout, "030204") {
			t.Errorf("%v", r)
		}
	})

	for kind, maker := range map[string][]string{"xfs": {"mkfs.xfs", "-q"}, "btrfs": {"mkfs.btrfs", "-q"}} {
		t.Run("mounted-"+kind, func(t *testing.T) {
			image := newImage(t, bed.Dir(t), kind+".img", 320<<20)
			peer(t, maker[0], append(maker[1:], image)...)
			mounted(func(p *populator) { p.sizes() })(t, image)
			before := viewImage(t, image, 0)
			command := imagetool(t, "sign", "--key", k.private, image, "--dry-run").hinted(t, 1, "("+kind+")", `'(signer sign --key KEY DIR)'`)
			dir, umount := mount(t, image, false, 0)
			asPrinted(t, dir, command[0], "KEY", k.private, "DIR", dir).expect(t, 0)
			signer(t, "verify", "--trust", k.cert, dir).expect(t, 0)
			umount()
			values := wantedValues(t, before)
			expectValues(t, viewImage(t, image, 0), func(path string) string { return values[before[path].Sum] })
		})
	}
	t.Run("mounted-for-reading", func(t *testing.T) {
		image := smallImage(t, bed.Dir(t))
		before := viewImage(t, image, 0)
		dir, umount := mount(t, image, false, 0)
		peer(t, "mount", "-o", "remount,ro", dir)
		command := signer(t, "sign", "--key", k.private, dir).hinted(t, 1, "read-only", `(mount -o remount,rw DIR)`)
		asPrinted(t, dir, command[0], "DIR", dir).expect(t, 0)
		signer(t, "sign", "--key", k.private, dir).expect(t, 0)
		umount()
		values := wantedValues(t, before)
		expectValues(t, viewImage(t, image, 0), func(path string) string { return values[before[path].Sum] })
	})
	t.Run("squashfs", func(t *testing.T) { // cannot be mounted for writing; signed files can be put into one
		tree, image := someFiles(t), filepath.Join(bed.Dir(t), "root.squashfs")
		peer(t, "mksquashfs", tree, image, "-quiet", "-no-progress")
		before := readView(t, tree)
		dir, umount := mount(t, image, true, 0)
		signer(t, "sign", "--key", k.private, dir).hinted(t, 1, "never written to", "(sign the files before)")
		umount()
		signer(t, "sign", "--key", k.private, tree).expect(t, 0)
		again, unpacked := filepath.Join(bed.Dir(t), "again.squashfs"), filepath.Join(bed.Dir(t), "unpacked")
		peer(t, "mksquashfs", tree, again, "-quiet", "-no-progress")
		peer(t, "unsquashfs", "-no-progress", "-dest", unpacked, again) // this machine's kernel may not show attributes
		values := wantedValues(t, before)
		expectValues(t, readView(t, unpacked), func(path string) string { return values[before[path].Sum] })
	})
	t.Run("without-root", func(t *testing.T) {
		image := smallImage(t, bed.Dir(t))
		dir, umount := mount(t, image, false, 0)
		defer umount()
		file := filepath.Join(dir, "file")
		r := finish(t, bed.AsNobody("signer", "sign", "--key", k.private, file))
		command := r.hinted(t, 1, "", `let '(signer blob)' make the values`)
		value := asPrinted(t, dir, command[0]+" --key "+k.private+" "+file).expect(t, 0)
		peer(t, "setfattr", "--name", imaName, "--value", "0x"+strings.TrimSpace(value.stdout), file)
		signer(t, "verify", "--trust", k.cert, file).expect(t, 0)
	})
}
