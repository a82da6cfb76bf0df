package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// maxResident is what imagetool may use for a small image, in KiB.
const maxResident = 256 << 10

// frugal runs imagetool and fails the test if it used more memory than it may.
func frugal(t *testing.T, args ...string) result {
	t.Helper()
	cmd := bed.AsNobody("imagetool", args...)
	r := finish(t, cmd)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("imagetool %s: exit %d, %d MiB, %v", args[0], r.code, usage.Maxrss>>10, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if usage.Maxrss > maxResident {
		t.Errorf("imagetool %s used %d KiB of memory, more than %d", args[0], usage.Maxrss, maxResident)
	}
	return r
}

// linkFarm makes n names of a few files in a folder of its own. Names are as short as can be.
func (p *populator) linkFarm(dir string, n int) {
	p.t.Helper()
	const perFile = 60000 // EXT4_LINK_MAX is 65,000
	first := ""
	for i := range n {
		name := p.path(filepath.Join(dir, strconv.FormatInt(int64(i), 36)))
		if i%perFile == 0 {
			first = name
			p.must(os.WriteFile(name, []byte(name), 0o644))
			continue
		}
		p.must(unix.Link(first, name))
	}
}

// chain makes folders inside of each other, and a file in the last. Paths of that length are too long for the kernel,
// so each is made from the one above it.
func (p *populator) chain(dir string, levels int, name string) {
	p.t.Helper()
	at, err := unix.Open(p.path(dir), unix.O_DIRECTORY|unix.O_PATH, 0)
	p.must(err)
	for range levels {
		p.must(unix.Mkdirat(at, name, 0o755))
		below, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_PATH, 0)
		p.must(err)
		unix.Close(at)
		at = below
	}
	f, err := unix.Openat(at, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	p.must(err)
	_, err = unix.Write(f, []byte("deep"))
	p.must(err)
	unix.Close(f)
	unix.Close(at)
}

const tiny = "-t ext4 -b 1024 -O ^has_journal -m 0"

// TestManyNames: hard links make many names, and folders long ones, out of few bytes. What would take too much memory
// is refused by name.
func TestManyNames(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "e2fsck")
	k := defaultKey(t)
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		dir := bed.Dir(t)
		image, out := mke2fs(t, dir, 4, strings.Fields(tiny)...), filepath.Join(dir, "out.img")
		mounted(func(p *populator) { p.linkFarm("", 120000) })(t, image)
		fsck(t, image)
		manifest := filepath.Join(dir, "manifest")
		frugal(t, "sign", "--key", k.private, image, "--out", out, "--manifest", manifest).expect(t, 0)
		frugal(t, "verify", "--trust", k.public, out).expect(t, 0)
		frugal(t, "verify", "--trust", k.public, out, "--manifest", manifest).expect(t, 0)
		frugal(t, "inspect", out).expect(t, 0)
		frugal(t, "diff", image, out).expect(t, 3)
	})
	t.Run("long", func(t *testing.T) {
		t.Parallel()
		dir := bed.Dir(t)
		image, out := mke2fs(t, dir, 4, strings.Fields(tiny)...), filepath.Join(dir, "out.img")
		deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 200)+"/", 19), "/")
		mounted(func(p *populator) {
			p.must(os.MkdirAll(p.path(deep), 0o755))
			p.linkFarm(deep, 20000)
		})(t, image)
		fsck(t, image)
		for _, args := range [][]string{{"sign", "--key", k.private, image, "--out", out}, {"verify", "--trust", k.public, image}, {"diff", image, image}} {
			r := frugal(t, args...).expect(t, 1)
			if !strings.Contains(r.stderr, `directory "/ddd`) || !strings.Contains(r.stderr, "paths of all files") {
				t.Errorf("the folder is not named:\n%v", r)
			}
		}
		frugal(t, "inspect", image).expect(t, 0)
	})
}

// TestLargeTrees: a folder with 200,000 entries, in a hash tree, and a thousand folders inside of each other, in images
// and on a mounted tree. What no program can name is refused by name.
func TestLargeTrees(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "e2fsck", "debugfs", "evmctl")
	k, dir := defaultKey(t), bed.Dir(t)
	image, out := mke2fs(t, dir, 192, "-t", "ext4", "-N", "220000", "-I", "512", "-O", "^has_journal", "-m", "0"), filepath.Join(dir, "out.img")
	const entries, kernels = 200000, 20000
	mounted(func(p *populator) {
		for _, d := range []string{"usr/lib/modules", "boot", "deep", "etc"} {
			p.must(os.MkdirAll(p.path(d), 0o755))
		}
		p.linkFarm("boot", entries-100)
		for i := range 100 { // where kernels are looked for
			p.must(os.MkdirAll(p.path(fmt.Sprintf("usr/lib/modules/%d", i)), 0o755))
			p.write(fmt.Sprintf("boot/vmlinuz-%d", i), []byte("kernel"))
		}
		for i := range kernels {
			p.must(os.Mkdir(p.path(fmt.Sprintf("usr/lib/modules/k%d", i)), 0o755))
		}
		p.chain("deep", 1000, "d")
		p.must(os.Symlink(strings.Repeat("../boot/", 125)+"../none", p.path("etc/os-release")))
	})(t, image)
	fsck(t, image)
	show(t, image, "htree_dump /boot", `Indirect levels: 1`)
	imagetool(t, "inspect", image).expect(t, 0)
	imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
	fsck(t, out)
	imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	imagetool(t, "diff", out, out).expect(t, 0)
	name := "/deep" + strings.Repeat("/d", 1000) + "/file"
	if r := imagetool(t, "cat", out, name).expect(t, 0); r.stdout != "deep" {
		t.Errorf("%q in the file at the bottom", r.stdout)
	}
	r := imagetool(t, "profile", "--key", k.private, "--policy", policyFile(t, dir), image, "--out", filepath.Join(dir, "profile")).expect(t, 1)
	if !strings.Contains(r.stderr, "there are 100 kernels") {
		t.Errorf("%v", r)
	}

	root, umount := mount(t, out, false, 0)
	signer(t, "verify", "--trust", k.public, root).expect(t, 0)
	signer(t, "sign", "--key", k.private, root).expect(t, 0)

	// Twice as deep, the file has no path that open(2) takes.
	p := &populator{t: t, root: root}
	p.must(os.Mkdir(p.path("deeper"), 0o755))
	p.chain("deeper", 2100, "d")
	for _, args := range [][]string{{"verify", "--trust", k.public, root}, {"sign", "--key", k.private, root}} {
		r := signer(t, args...).expect(t, 3)
		if !strings.Contains(r.stderr, root+"/deeper/d/d/") || !strings.Contains(r.stderr, "file name too long") {
			t.Errorf("signer %s does not name what is too deep:\n%v", args[0], r)
		}
	}
	umount()
	for _, args := range [][]string{{"verify", "--trust", k.public, out}, {"sign", "--key", k.private, out, "--dry-run"}} {
		r := imagetool(t, args...).expect(t, 1)
		if !strings.Contains(r.stderr, `"/deeper/d/d/`) || !strings.Contains(r.stderr, "is longer than 4095 bytes") {
			t.Errorf("imagetool %s does not name what is too deep:\n%v", args[0], r)
		}
	}
}
