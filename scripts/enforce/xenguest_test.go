package enforce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// xenGuest is a guest without systemd, that boots in seconds, with an initrd of its own.
type xenGuest struct {
	guest
	xen    string // the folder that scripts/xen-bed has made
	initrd string
}

// makeXenGuest makes it, with the busybox of the test bed.
func makeXenGuest(t *testing.T, xen string) *xenGuest {
	t.Helper()
	keys, err := theKeys()
	must(t, err)
	dir := bed.Dir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	g := &xenGuest{guest: guest{dir: dir, image: in("signed.img"), kernels: map[string]kernel{"6.1": {}}}, xen: xen, initrd: in("initrd")}
	must(t, g.build(in("plain.img")))
	_, err = bed.Output(bed.AsNobody("imagetool", "sign", "--quiet", "--key", keys.sealed.private, in("plain.img"), "--out", g.image))
	must(t, err)
	must(t, g.spoil(keys))
	return g
}

// xenFiles are what the guest has of the Debian root.
var xenFiles = []string{
	"./bin", "./sbin", "./lib", "./lib64", "./usr/lib64", // links
	"./usr/bin/sh", "./usr/bin/dash", "./usr/bin/busybox", "./usr/bin/kmod", "./usr/bin/echo", "./usr/bin/true", "./usr/bin/cat",
	"./usr/bin/grep", "./usr/bin/uname", "./usr/bin/nproc", "./usr/bin/cp", "./usr/bin/chmod", "./usr/bin/getfattr",
	"./usr/sbin/insmod", "./usr/sbin/rmmod", "./usr/sbin/modinfo",
	"./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "./usr/lib/x86_64-linux-gnu/lib[cm].so.*", "./usr/lib/x86_64-linux-gnu/libresolv.so.*",
	"./usr/lib/x86_64-linux-gnu/libutil.so.*", "./usr/lib/x86_64-linux-gnu/lib*attr.so.*", "./usr/lib/x86_64-linux-gnu/libacl.so.*",
	"./usr/lib/x86_64-linux-gnu/liblzma.so.*", "./usr/lib/x86_64-linux-gnu/libzstd.so.*", "./usr/lib/x86_64-linux-gnu/libcrypto.so.*",
	"./usr/lib/x86_64-linux-gnu/libselinux.so.*", "./usr/lib/x86_64-linux-gnu/libpcre*.so.*",
	"./boot/vmlinuz-6.1.*", "./usr/lib/modules/*/kernel/fs/nls",
	"./usr/lib/modules/6.1.*/kernel/fs/ext4/ext4.ko", "./usr/lib/modules/6.1.*/kernel/fs/jbd2/jbd2.ko",
	"./usr/lib/modules/6.1.*/kernel/fs/mbcache.ko", "./usr/lib/modules/6.1.*/kernel/lib/crc16.ko",
	"./usr/lib/modules/6.1.*/kernel/crypto/crc32c_generic.ko", "./usr/lib/modules/6.1.*/kernel/drivers/block/xen-blkfront.ko",
	"./usr/lib/modules/6.1.*/kernel/drivers/xen/xen-privcmd.ko",
}

// xenInit is process 1 of the guest.
const xenInit = `#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/usr/sbin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs tmpfs /tmp
busybox mount -t tmpfs tmpfs /root
exec guestagent /dev/hvc0
`

// xenInitrd is the init of the initrd.
const xenInitrd = `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t devtmpfs devtmpfs /dev
for module in crc16 mbcache jbd2 crc32c_generic ext4 xen-blkfront; do $B insmod /modules/$module.ko; done
until [ -b /dev/xvda ]; do $B sleep 0.05; done
$B mount -t ext4 -o ro /dev/xvda /root
$B umount /dev /proc
exec $B switch_root /root /sbin/init
`

// build makes the image, and beside it the kernel and the initrd.
func (g *xenGuest) build(image string) error {
	root := filepath.Join(g.dir, "root")
	defer os.RemoveAll(root)
	if err := unpackRoot(root, append([]string{"--wildcards"}, xenFiles...)...); err != nil {
		return err
	}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "root", "usr/local/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/init"), []byte(xenInit), 0o755); err != nil {
		return err
	}
	for _, name := range []string{"guestagent", "probe"} {
		program, err := os.ReadFile(bed.Program(name))
		if err := errors.Join(err, os.WriteFile(filepath.Join(root, "usr/local/bin", name), program, 0o755)); err != nil {
			return err
		}
	}
	if err := errors.Join(g.addKernels(root), g.addCases(root), addSpares(root)); err != nil {
		return err
	}
	k := g.kernels["6.1"]
	k.image = filepath.Join(g.dir, "vmlinuz")
	g.kernels["6.1"] = k
	if err := errors.Join(copyTo(k.image, filepath.Join(root, "boot/vmlinuz-"+k.release)), g.makeInitrd(root)); err != nil {
		return err
	}
	if _, err := bed.Output(bed.Peer("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root", "-d", root, image, "160M")); err != nil {
		return err
	}
	return os.Chown(image, bed.Nobody, bed.Nobody)
}

// spare is a program of the guest that nothing else uses: its first use is a hit.
func spare(n int) string { return fmt.Sprintf("/opt/t/spare/%d", n) }

const spares = 16

func addSpares(root string) error {
	echo, err := os.ReadFile(filepath.Join(root, "usr/bin/echo"))
	err = errors.Join(err, os.MkdirAll(filepath.Join(root, filepath.Dir(spare(0))), 0o755))
	for n := range spares {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, spare(n)), fmt.Appendf(slices.Clip(echo), "\n# %d\n", n), 0o755))
	}
	return err
}

// takeBusybox takes the static busybox of dom0: with libraries, each program of the initrd would be four hits.
func (g *xenGuest) takeBusybox() error {
	return bed.OutputTo(filepath.Join(g.dir, "busybox"),
		bed.Peer("sh", "-c", `zcat "$1/dom0.cpio.gz" | cpio -i --quiet --to-stdout bin/busybox`, "sh", g.xen))
}

// makeInitrd makes an initrd of busybox and the root's modules.
func (g *xenGuest) makeInitrd(root string) error {
	if err := g.takeBusybox(); err != nil {
		return err
	}
	into := filepath.Join(g.dir, "initrd-root")
	defer os.RemoveAll(into)
	for _, dir := range []string{"bin", "proc", "sys", "dev", "root", "modules"} {
		if err := os.MkdirAll(filepath.Join(into, dir), 0o755); err != nil {
			return err
		}
	}
	modules := filepath.Join(root, "usr/lib/modules", g.kernels["6.1"].release, "kernel")
	files := map[string]string{"bin/busybox": filepath.Join(g.dir, "busybox")}
	for _, m := range []string{"lib/crc16", "fs/mbcache", "fs/jbd2/jbd2", "crypto/crc32c_generic", "fs/ext4/ext4", "drivers/block/xen-blkfront"} {
		files["modules/"+filepath.Base(m)+".ko"] = filepath.Join(modules, m+".ko")
	}
	for to, from := range files {
		to = filepath.Join(into, to)
		if err := errors.Join(copyTo(to, from), os.Chmod(to, 0o755)); err != nil {
			return fmt.Errorf("making the initrd: %w", err)
		}
	}
	for _, name := range []string{"sh", "mount", "umount"} { // for vmseal-init
		if err := os.Symlink("busybox", filepath.Join(into, "bin", name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(into, "init"), []byte(xenInitrd), 0o755); err != nil {
		return err
	}
	pack := bed.Peer("sh", "-c", "find . | cpio -o -H newc --quiet")
	pack.Dir = into
	return bed.OutputTo(g.initrd, pack)
}
