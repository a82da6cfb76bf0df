package enforce

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"

	"golang.org/x/sys/unix"
)

// lean is a guest of few files, which boots in seconds: busybox, dmsetup and the agent, in a folder that is signed and can be put
// on any file system.
type lean struct {
	dir, root string
	kernel    kernel // 6.1
	initrd    string // a folder: what becomes the initrd of each boot
	modules   map[string][]string
}

func theLean(t *testing.T) *lean {
	t.Helper()
	need(t)
	bed.Need(t, "cpio", "modprobe")
	l, err := madeLean()
	must(t, err)
	return l
}

var madeLean = sync.OnceValues(func() (*lean, error) {
	dir, err := bed.NewDir()
	if err != nil {
		return nil, err
	}
	l := &lean{dir: dir, root: filepath.Join(dir, "root"), initrd: filepath.Join(dir, "initrd")}
	debian := filepath.Join(dir, "debian")
	defer os.RemoveAll(debian)
	// Links before what lies behind them.
	if err := unpackRoot(debian, append([]string{"--wildcards", "./bin", "./lib", "./lib64", "./boot/vmlinuz-6.1.*", "./usr/lib/modules/6.1.*", "./usr/bin/echo"}, leanFiles...)...); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(debian, "boot/vmlinuz-6.1.*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("the guest's root has %d kernels 6.1, want 1", len(found))
	}
	l.kernel = kernel{release: strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-"), image: filepath.Join(dir, "vmlinuz")}
	return l, errors.Join(copyTo(l.kernel.image, found[0]), l.makeRoot(debian), l.makeInitrd(debian))
})

// leanFiles are those of Debian that are in the root as well as in the initrd: programs, and the libraries that these need.
var leanFiles = []string{
	"./usr/bin/busybox", "./usr/sbin/dmsetup", "./usr/lib64/ld-linux-x86-64.so.2", "./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
	"./usr/lib/x86_64-linux-gnu/libc.so.*", "./usr/lib/x86_64-linux-gnu/libresolv.so.*", "./usr/lib/x86_64-linux-gnu/libm.so.*",
	"./usr/lib/x86_64-linux-gnu/libdevmapper.so.*", "./usr/lib/x86_64-linux-gnu/libselinux.so.*", "./usr/lib/x86_64-linux-gnu/libudev.so.*",
	"./usr/lib/x86_64-linux-gnu/libpcre2-8.so.*",
}

// anyProgram is a rule that root would like to add.
const anyProgram = "dont_appraise func=BPRM_CHECK\n"

// applets are what busybox is asked for.
var applets = strings.Fields("sh cat cp echo mkdir mount switch_root umount")

// leanFolder makes a folder with these files, and with others.
func leanFolder(debian, to string, files map[string][]byte) error {
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "mnt", "data", "root", "etc", "usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/local/bin", "opt"} {
		if err := os.MkdirAll(filepath.Join(to, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(to, name)); err != nil {
			return err
		}
	}
	for _, pattern := range leanFiles {
		found, err := filepath.Glob(filepath.Join(debian, pattern))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("the guest's root has no %s", pattern)
		}
		for _, from := range found {
			if _, err := bed.Output(bed.Peer("cp", "-a", from, filepath.Join(to, filepath.Dir(pattern)))); err != nil {
				return err
			}
		}
	}
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(to, "usr/bin", name)); err != nil {
			return err
		}
	}
	for name, contents := range files {
		if err := os.WriteFile(filepath.Join(to, name), contents, 0o755); err != nil {
			return err
		}
	}
	return nil
}

//go:embed testdata/lean-system
var leanSystem []byte

//go:embed testdata/lean-init
var leanInit []byte

// makeRoot makes the signed folder. Of three programs one is good.
func (l *lean) makeRoot(debian string) error {
	keys, err := theKeys()
	if err != nil {
		return err
	}
	agent, err1 := os.ReadFile(bed.Program("guestagent"))
	probe, err2 := os.ReadFile(bed.Program("probe"))
	echo, err3 := os.ReadFile(filepath.Join(debian, "usr/bin/echo"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	files := map[string][]byte{"usr/sbin/init": leanSystem, "usr/local/bin/guestagent": agent, "usr/local/bin/probe": probe, "etc/rules": []byte(anyProgram)}
	for _, name := range []string{"good", "unsigned", "changed"} {
		files["opt/"+name] = fmt.Appendf(echo[:len(echo):len(echo)], "\n# %s\n", name)
	}
	if err := leanFolder(debian, l.root, files); err != nil {
		return err
	}
	// The folder belongs to root, who may set the attribute.
	if _, err := bed.Output(bed.Command("signer", "sign", "--quiet", "--key", keys.sealed.private, l.root)); err != nil {
		return err
	}
	return errors.Join(unix.Lremovexattr(filepath.Join(l.root, "opt/unsigned"), imaName), flipLast(filepath.Join(l.root, "opt/changed")))
}

// leanModules are those for each kind of root, besides those for disks and ext4.
var leanModules = map[string]string{
	"": "virtio_pci virtio_blk ext4", "xfs": "xfs", "btrfs": "btrfs", "squashfs": "squashfs", "erofs": "erofs",
	"overlay": "overlay", "linear": "dm-mod", "verity": "dm-verity",
}

// makeInitrd makes the initrd's folder, and finds out which files make up each kind's modules, with what they depend on.
func (l *lean) makeInitrd(debian string) error {
	probe, err := os.ReadFile(bed.Program("probe"))
	if err != nil {
		return err
	}
	files := map[string][]byte{"init": leanInit, "usr/bin/probe": probe, "rules": []byte(anyProgram)}
	l.modules = make(map[string][]string)
	for kind, names := range leanModules {
		args := append([]string{"-d", debian, "-S", l.kernel.release, "--all", "--show-depends"}, strings.Fields(names)...)
		out, err := bed.Output(bed.Peer("modprobe", args...))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(out)) {
			from, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			if !ok {
				continue // "builtin"
			}
			name := filepath.Base(from)
			if files[name], err = os.ReadFile(from); err != nil {
				return err
			}
			l.modules[kind] = append(l.modules[kind], name)
		}
	}
	return leanFolder(debian, l.initrd, files)
}

// words are those of the kernel's command line that have the initrd load the modules for these kinds.
func (l *lean) words(kinds ...string) string {
	var names []string
	for _, kind := range append([]string{""}, kinds...) {
		for _, name := range l.modules[kind] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return fmt.Sprintf("modules=%q", strings.Join(names, " "))
}

// guest is this system with a kernel, as one for newGuard and boot; its image is for the boot to say.
func (l *lean) guest(t *testing.T, dir string, k kernel) *guest {
	t.Helper()
	k.initrd = filepath.Join(dir, "initrd.img")
	cmd := bed.Peer("sh", "-c", "find . | cpio --quiet -o -H newc >"+k.initrd)
	cmd.Dir = l.initrd
	_, err := bed.Output(cmd)
	must(t, err)
	return &guest{dir: dir, kernels: map[string]kernel{"6.1": k}}
}
