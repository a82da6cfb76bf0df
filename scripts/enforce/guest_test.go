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
)

// guest is the signed image and what was taken out of it.
type guest struct {
	dir     string
	image   string // signed, with some files spoiled
	kernels map[string]kernel
	dracut  string            // an initrd of dracut for the kernel 6.1
	denied  map[string]string // SHA-256 of the files that the deny list names, by path
	kinds   []kind            // of files that there are cases of
}

type kernel struct{ release, image, initrd string }

// theGuest makes the guest, once in a run.
func theGuest(t *testing.T) *guest {
	t.Helper()
	need(t)
	g, err := madeGuest()
	must(t, err)
	return g
}

var madeGuest = sync.OnceValues(func() (*guest, error) { return makeGuest("6.1", "6.12") })

// theNewGuest has later kernels beside 6.1: the long-term series 6.18, and the newest.
func theNewGuest(t *testing.T) *guest {
	t.Helper()
	need(t)
	g, err := madeNewGuest()
	must(t, err)
	return g
}

var madeNewGuest = sync.OnceValues(func() (*guest, error) { return makeGuest(append([]string{"6.1"}, laterKernels...)...) })

// laterKernels are the series that are not in Debian 12, as scripts/kernels --system names them.
var laterKernels = []string{"6.18", "newest"}

func makeGuest(kernels ...string) (*guest, error) {
	dir, err := bed.NewDir()
	if err != nil {
		return nil, err
	}
	g := &guest{dir: dir, image: filepath.Join(dir, "signed.img"), kernels: make(map[string]kernel)}
	for _, name := range kernels {
		g.kernels[name] = kernel{}
	}
	keys, err := theKeys()
	if err != nil {
		return nil, err
	}
	plain := filepath.Join(dir, "plain.img")
	if err := g.build(plain, keys); err != nil {
		return nil, err
	}
	if _, err := bed.Output(bed.AsNobody("imagetool", "sign", "--quiet", "--key", keys.sealed.private, plain, "--out", g.image)); err != nil {
		return nil, err
	}
	if err := os.Remove(plain); err != nil {
		return nil, err
	}
	if err := g.spoil(keys); err != nil {
		return nil, err
	}
	return g, g.takeOut()
}

// foreignCert is a certificate that guest root would like the kernel to trust.
const foreignCert = "/opt/t/foreign.der"

func copyTo(to, from string) error {
	b, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, b, 0o644))
}

// imageSize leaves about a gigabyte free for what tests write.
const imageSize = "2500M"

// build makes the image: a Debian root and what the tests add to it, in one bare ext4 file system.
func (g *guest) build(image string, keys *keySet) error {
	root := filepath.Join(g.dir, "root")
	defer os.RemoveAll(root)
	if err := unpackRoot(root, "--xattrs", "--xattrs-include=*"); err != nil {
		return err
	}
	if err := furnish(root); err != nil {
		return err
	}
	if err := g.addKernels(root); err != nil {
		return err
	}
	if err := g.addCases(root); err != nil {
		return err
	}
	if err := copyTo(filepath.Join(root, foreignCert), keys.foreign.der); err != nil {
		return err
	}
	if _, err := bed.Output(bed.Peer("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, image, imageSize)); err != nil {
		return err
	}
	return os.Chown(image, bed.Nobody, bed.Nobody)
}

// unpackRoot makes a folder of the Debian root, or of what tar's arguments take of it.
func unpackRoot(root string, args ...string) error { return unpackRootOf(nil, root, args...) }

// unpackRootOf does so with that of scripts/guest-root with these flags.
func unpackRootOf(flags []string, root string, args ...string) error {
	script, err := filepath.Abs("../guest-root")
	if err != nil {
		return err
	}
	tarball, err := bed.Output(bed.Peer(script, flags...))
	if err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	args = append([]string{"-x", "--numeric-owner", "-f", strings.TrimSpace(string(tarball)), "-C", root}, args...)
	_, err = bed.Output(bed.Peer("tar", args...))
	return err
}

//go:embed testdata/guestagent.service
var agentUnit []byte

// masked are units that do nothing for these tests: logins, a bus that is not installed, chores of a long-lived machine.
// Each would run programs, and under emulation each program's appraisal costs a tenth of a second.
var masked = []string{
	"getty.target", "systemd-logind.service", "systemd-user-sessions.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
	"e2scrub_all.timer", "e2scrub_reap.service",
	"kexec.service", "kexec-load.service",
	"systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
}

// furnish adds to a Debian root what makes it the guest of these tests.
func furnish(root string) error {
	files := map[string][]byte{
		"etc/machine-id":                        []byte("0123456789abcdef0123456789abcdef\n"), // else it is a first boot
		"etc/hostname":                          []byte("guest\n"),
		"etc/systemd/system/guestagent.service": agentUnit,
	}
	for _, name := range []string{"guestagent", "probe"} {
		program, err := os.ReadFile(bed.Program(name))
		if err != nil {
			return err
		}
		files["usr/local/bin/"+name] = program
	}
	for name, contents := range files {
		if err := os.WriteFile(filepath.Join(root, name), contents, 0o644); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(root, "usr/local/bin/guestagent"), 0o755), os.Chmod(filepath.Join(root, "usr/local/bin/probe"), 0o755)); err != nil {
		return err
	}
	units := filepath.Join(root, "etc/systemd/system")
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, name)); err != nil {
			return err
		}
	}
	if err := os.Symlink("../guestagent.service", filepath.Join(units, "multi-user.target.wants/guestagent.service")); err != nil {
		return err
	}
	// /tmp in memory, as Debian's README of systemd says: with a read-only disk there must be one.
	if err := os.Symlink("/usr/share/systemd/tmp.mount", filepath.Join(units, "tmp.mount")); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(units, "local-fs.target.wants"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("/usr/share/systemd/tmp.mount", filepath.Join(units, "local-fs.target.wants/tmp.mount")); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(root, "data"), 0o755) // where a second disk is mounted
}

// addKernels puts the later kernels into the root, and learns which releases it has.
func (g *guest) addKernels(root string) error {
	for name := range g.kernels {
		release := name + ".*"
		if slices.Contains(laterKernels, name) {
			var err error
			if release, err = addKernel(root, name); err != nil {
				return err
			}
		}
		found, err := filepath.Glob(filepath.Join(root, "lib/modules", release))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("the guest has %d kernels %s, want 1", len(found), name)
		}
		g.kernels[name] = kernel{release: filepath.Base(found[0])}
	}
	g.kinds = kindsOf(g.kernels)
	return nil
}

// addKernel puts a kernel into the root, as installing its packages would: with an initrd that the root's own tools make.
func addKernel(root, series string) (release string, err error) {
	script, err := filepath.Abs("../kernels")
	if err != nil {
		return "", err
	}
	archive, err := bed.Output(bed.Peer(script, "--system", series))
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(string(archive))
	if _, err := bed.Output(bed.Peer("tar", "-x", "--keep-directory-symlink", "-f", path, "-C", root)); err != nil {
		return "", err
	}
	release = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "system-"), ".tar")
	_, err = bed.Output(bed.Peer("chroot", root, "sh", "-c", "depmod "+release+" && update-initramfs -c -k "+release))
	return release, err
}

// takeOut reads kernels and initrds from the signed image, as whoever boots it would.
func (g *guest) takeOut() error {
	take := func(path string) (string, error) {
		to := filepath.Join(g.dir, filepath.Base(path))
		return to, bed.OutputTo(to, bed.AsNobody("imagetool", "cat", g.image, path))
	}
	for version, k := range g.kernels {
		var err error
		if k.image, err = take("/boot/vmlinuz-" + k.release); err != nil {
			return err
		}
		if k.initrd, err = take("/boot/initrd.img-" + k.release); err != nil {
			return err
		}
		g.kernels[version] = k
	}
	if g.kernels["6.12"].release == "" {
		return nil
	}
	var err error
	g.dracut, err = take("/boot/dracut-" + g.kernels["6.1"].release + ".img")
	return err
}
