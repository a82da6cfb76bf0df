package install

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A debian is a Debian system in a folder, without network, to which nothing was added.
type debian struct {
	t    *testing.T
	root string
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	bed.Need(t, "mmdebstrap", "tar", "dpkg-deb")
	d := &debian{t, filepath.Join(bed.Dir(t), "root")}
	tarball := strings.TrimSpace(run(t, exec.Command(filepath.Join(top, "scripts/debian-root"))))
	if err := os.Mkdir(d.root, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("tar", "-x", "--numeric-owner", "-f", tarball, "-C", d.root))
	return d
}

// mount gives the system a /proc, which goes before the folder does.
func (d *debian) mount() {
	d.t.Helper()
	proc := filepath.Join(d.root, "proc")
	run(d.t, bed.Peer("mount", "-t", "proc", "proc", proc))
	d.t.Cleanup(func() { run(d.t, bed.Peer("umount", proc)) })
}

// command prepares a program of the system, as root or as an ordinary user.
func (d *debian) command(user uint32, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: d.root, Credential: &syscall.Credential{Uid: user, Gid: user}}
	return cmd
}

// install installs packages.
func (d *debian) install(packages ...string) {
	d.t.Helper()
	args := []string{"--install"}
	for _, path := range packages {
		name := "/" + filepath.Base(path)
		if err := os.WriteFile(d.root+name, []byte(read(d.t, path)), 0o644); err != nil {
			d.t.Fatal(err)
		}
		args = append(args, name)
	}
	out := run(d.t, d.command(0, "/", "/usr/bin/dpkg", args...))
	d.t.Log(out)
	for _, name := range args[1:] {
		if err := os.Remove(d.root + name); err != nil {
			d.t.Fatal(err)
		}
	}
}

// TestDebian is the quick start with the packages alone: an ordinary user makes a key and signs an image of a Debian system by
// the starter rules. The kernel, which mounts it, says what each file has; somebody changes a file, and that is found.
func TestDebian(t *testing.T) {
	r := theRelease(t, "mke2fs", "mount")
	d := newDebian(t)
	image := filepath.Join(bed.Dir(t), "guest.img")
	run(t, bed.Peer("mke2fs", "-q", "-t", "ext4", "-d", d.root, image, "1500M"))
	d.mount()
	d.install(r.file(t, "vmseal_*.deb"), r.file(t, "vmseal-enforcer_*.deb"))
	work := filepath.Join(d.root, "work")
	if err := errors.Join(os.Mkdir(work, 0o755), os.Rename(image, filepath.Join(work, "guest.img")),
		os.Chown(filepath.Join(work, "guest.img"), bed.Nobody, bed.Nobody), os.Chown(work, bed.Nobody, bed.Nobody)); err != nil {
		t.Fatal(err)
	}
	d.versions(commit(t))
	user := func(program string, args ...string) *exec.Cmd {
		return d.command(bed.Nobody, "/work", "/usr/bin/"+program, args...)
	}
	run(t, user("signer", "key", "new", "--out", "keys", "--name", "images"))
	run(t, user("signer", "key", "trust", "--out", "trust.pem", "keys/cert.pem"))
	run(t, user("imagetool", "sign", "--key", "keys/private.pem", "--rules", "@debian", "guest.img", "--out", "sealed.img", "--manifest", "sealed.manifest"))
	run(t, user("imagetool", "verify", "--trust", "trust.pem", "--rules", "@debian", "sealed.img"))
	if header, _, _ := strings.Cut(read(t, filepath.Join(work, "sealed.manifest")), "\n"); !strings.Contains(header, `"tool":"imagetool `+version(t)+`"`) {
		t.Errorf("the manifest begins with %s", header)
	}
	d.judge(filepath.Join(work, "sealed.img"))
	d.change(filepath.Join(work, "sealed.img"), "usr/bin/dash")
	got := fails(t, 3, user("imagetool", "verify", "--trust", "trust.pem", "--rules", "@debian", "sealed.img", "/usr/bin/dash"))
	if !strings.Contains(got, "/usr/bin/dash: invalid, content-changed") {
		t.Errorf("%s", got)
	}
	d.remove()
}

// versions asks each program.
func (d *debian) versions(commit string) {
	d.t.Helper()
	for program, formats := range map[string]string{"signer": "manifest 1, profile [0-9]+", "imagetool": "manifest 1, profile [0-9]+", "enforcer": "profile [0-9]+"} {
		want := "^" + program + " " + regexp.QuoteMeta(version(d.t)) + ", commit " + commit + `, go1\.[0-9.]+, formats: ` + formats + "\n$"
		if got := run(d.t, d.command(bed.Nobody, "/", "/usr/bin/"+program, "--version")); !regexp.MustCompile(want).MatchString(got) {
			d.t.Errorf("%q does not match %q", got, want)
		}
	}
}

// change has somebody who can mount the image append to a file.
func (d *debian) change(image, path string) {
	d.t.Helper()
	mnt := bed.Dir(d.t)
	run(d.t, bed.Peer("mount", "-o", "loop", image, mnt))
	run(d.t, bed.Peer("sh", "-c", `echo x >>"$0"`, filepath.Join(mnt, path)))
	run(d.t, bed.Peer("umount", mnt))
}

// judge has the kernel mount the image, and dpkg say which files belong to packages. Of these every file below /usr has a
// signature, since none of them changes while a system runs.
func (d *debian) judge(image string) {
	t := d.t
	t.Helper()
	mnt := bed.Dir(t)
	run(t, bed.Peer("mount", "-o", "loop,ro", image, mnt))
	defer func() { run(t, bed.Peer("umount", mnt)) }()
	kind := func(path string) byte { // the type of security.ima; 0 for none
		var value [4096]byte
		if n, err := unix.Lgetxattr(filepath.Join(mnt, path), "security.ima", value[:]); err == nil && n > 0 {
			return value[0]
		} else if !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s: %v", path, err)
		}
		return 0
	}
	lists, err := filepath.Glob(filepath.Join(mnt, "var/lib/dpkg/info/*.list"))
	if err != nil || len(lists) < 50 {
		t.Fatalf("%d packages, %v", len(lists), err)
	}
	files := 0
	for _, list := range lists {
		for path := range strings.Lines(read(t, list)) {
			path = strings.TrimSpace(path)
			if info, err := os.Lstat(mnt + path); err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(path, "/usr/") {
				continue
			}
			if files++; kind(path) != 3 {
				t.Errorf("%s: type %d, not a signature", path, kind(path))
			}
		}
	}
	if files < 2000 {
		t.Errorf("only %d files of packages", files)
	}
	for path, want := range map[string]byte{
		"/etc/passwd": 4, "/etc/shadow": 4, "/var/lib/dpkg/status": 4, "/root/.bashrc": 4,
		"/var/lib/dpkg/info/dash.postinst": 3, "/etc/pam.conf": 3, "/etc/bash.bashrc": 3, "/etc/ld.so.cache": 0,
	} {
		if got := kind(path); got != want {
			t.Errorf("%s: type %d, want %d", path, got, want)
		}
	}
	t.Logf("%d files of packages below /usr have a signature", files)
}

// remove leaves nothing of the packages.
func (d *debian) remove() {
	d.t.Helper()
	list := run(d.t, d.command(0, "/", "/usr/bin/dpkg", "--listfiles", "vmseal", "vmseal-enforcer"))
	run(d.t, d.command(0, "/", "/usr/bin/dpkg", "--purge", "vmseal", "vmseal-enforcer"))
	gone := 0
	for path := range strings.Lines(list) {
		path = strings.TrimSpace(path)
		info, err := os.Lstat(d.root + path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			gone++
		case err == nil && path != "" && (!info.IsDir() || strings.Contains(path, "vmseal")):
			d.t.Errorf("%s is still there", path)
		}
	}
	if gone < 40 {
		d.t.Errorf("only %d files are gone:\n%s", gone, list)
	}
}

// TestSameContents: the three forms of a package have the same files, of which one lies elsewhere in Debian.
func TestSameContents(t *testing.T) {
	r := theRelease(t)
	for _, name := range []string{"vmseal", "vmseal-enforcer"} {
		contents := map[string]map[string]string{}
		for form, dir := range r.unpacked(t, name) {
			contents[form] = map[string]string{}
			err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				name := strings.Replace(strings.TrimPrefix(path, dir), "zsh/vendor-completions", "zsh/site-functions", 1)
				contents[form][name] = info.Mode().String() + read(t, path)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, form := range []string{"rpm", "deb"} {
			if len(contents[form]) != len(contents["tar"]) || len(contents["tar"]) < 12 {
				t.Errorf("%s: %d files in the %s, %d in the archive", name, len(contents[form]), form, len(contents["tar"]))
			}
			for path, want := range contents["tar"] {
				if !bytes.Equal([]byte(contents[form][path]), []byte(want)) {
					t.Errorf("%s: another %s in the %s", name, path, form)
				}
			}
		}
	}
}
