package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// hold starts a command and has it stand still before the first of its operations below a folder that is chosen, until
// it is released.
func hold(t *testing.T, cmd *exec.Cmd, dir string, chosen func(operation) bool) (pid int, release func() result) {
	t.Helper()
	reached, released, ended := make(chan struct{}), make(chan struct{}), make(chan result, 1)
	go func() {
		defer close(ended)
		held := false
		ended <- supervise(t, cmd, dir, func(op operation) unix.Errno {
			if !held && chosen(op) {
				held = true
				close(reached)
				<-released
			}
			return 0
		})
	}()
	select {
	case <-reached:
	case r := <-ended:
		t.Fatalf("it has ended, instead of standing still:\n%v", r)
	}
	done := false
	release = func() (r result) {
		if !done {
			done = true
			close(released)
			r = <-ended
		}
		return r
	}
	t.Cleanup(func() { release() })
	return cmd.Process.Pid, release
}

// TestTwoAtOnce: while an image is being changed, before and after there is a log, nobody else gets at it.
func TestTwoAtOnce(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "qemu-io", "flock")
	image := tinyImage(t, bed.Dir(t))
	for name, chosen := range map[string]func(operation) bool{
		"before-the-log": func(op operation) bool {
			return op.name == "open" && strings.HasPrefix(filepath.Base(op.path), ".vmseal-")
		},
		"committing": func(op operation) bool { return op.name == "fsync" && strings.HasSuffix(op.path, "/disk.img") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t, memoryDir(t, "64m"), image)
			pid, release := hold(t, tr.signing(), tr.dir(), chosen)
			out := filepath.Join(bed.Dir(t), "out.img")
			for _, args := range [][]string{
				{"sign", "--key", tr.k.private, tr.image, "--in-place"},
				{"sign", "--key", tr.k.private, tr.image, "--in-place", "--dry-run"},
				{"sign", "--key", tr.k.private, tr.image, "--out", out},
				{"sign", "--key", tr.k.private, image, "--out", out, "--reuse", tr.image},
				{"verify", "--trust", tr.k.public, tr.image},
				{"ls", tr.image},
			} {
				expectHolder(t, imagetool(t, args...), "imagetool", pid)
			}
			if r := imagetool(t, "recover", tr.image); name == "committing" {
				expectHolder(t, r, "imagetool", pid)
			} else {
				r.expect(t, 1)
			}
			for _, others := range [][]string{{"qemu-io", "-f", "raw", "-c", "read 0 512", tr.image},
				{"qemu-io", "-r", "-f", "raw", "-c", "read 0 512", tr.image}, {"flock", "-n", "-s", tr.image, "true"}} {
				if out, err := try(others[0], others[1:]...); err == nil {
					t.Errorf("%q had the image meanwhile:\n%s", others, out)
				}
			}
			release().expect(t, 0)
			if o := tr.outcome(t); o != complete {
				t.Errorf("the image is %s", o)
			}
			expectOnly(t, filepath.Dir(out))
		})
	}
	t.Run("copying", func(t *testing.T) { // the other way round: who only reads keeps away who writes
		dir, out := bed.Dir(t), memoryDir(t, "64m")
		disk := copyImage(t, image, filepath.Join(dir, "disk.img"))
		copied, k := filepath.Join(out, "out.img"), defaultKey(t)
		pid, release := hold(t, ordered("sign", "--key", k.private, disk, "--out", copied), out,
			func(op operation) bool { return op.name == "fsync" })
		expectHolder(t, inPlace(t, k, disk), "imagetool", pid)
		imagetool(t, "verify", "--trust", k.public, disk).expect(t, 3)
		release().expect(t, 0)
		inPlace(t, k, disk).expect(t, 0)
		expectSame(t, "the copy and the image", copied, disk)
	})
}

// expectHolder: refused, since this process has the image.
func expectHolder(t *testing.T, r result, name string, pid int) {
	t.Helper()
	if r.code != 1 || !strings.Contains(r.stderr, "in use") || !strings.Contains(r.stderr, fmt.Sprintf("%s (pid %d)", name, pid)) ||
		!strings.Contains(r.stderr, "\nhint: ") {
		t.Errorf("want it refused, since %s (pid %d) has the image:\n%v", name, pid, r)
	}
}

// TestHolders: an image that somebody else has is not changed in place, and who it is is said.
func TestHolders(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "qemu-system-x86_64")
	image, k := tinyImage(t, bed.Dir(t)), defaultKey(t)
	refused := func(t *testing.T, disk string, check func(result)) {
		t.Helper()
		check(inPlace(t, k, disk))
		check(inPlace(t, k, disk, "--dry-run"))
		expectSame(t, "the image before and after", image, disk)
		expectOnly(t, filepath.Dir(disk), "disk.img")
	}
	for name, options := range map[string]string{
		"qemu": "", "qemu-readonly": ",readonly=on", "qemu-without-locks": ",file.locking=off", "qemu-snapshot": ",snapshot=on",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := copyImage(t, image, filepath.Join(bed.Dir(t), "disk.img"))
			pid, stop := startQEMU(t, "file="+disk+",format=raw,if=none,id=d"+options)
			refused(t, disk, func(r result) { expectHolder(t, r, "qemu-system-x86", pid) })
			stop()
			inPlace(t, k, disk).expect(t, 0)
		})
	}
	for name, owner := range map[string]int{"program": bed.Nobody, "program-of-root": 0} {
		t.Run(name, func(t *testing.T) {
			disk := copyImage(t, image, filepath.Join(bed.Dir(t), "disk.img"))
			pid, stop := openWith(t, disk, owner)
			refused(t, disk, func(r result) {
				if owner == bed.Nobody {
					expectHolder(t, r, "cat", pid)
				} else if r.code != 1 || !strings.Contains(r.stderr, "open for writing") { // root's files are root's to see
					t.Errorf("want it refused, since it is open for writing:\n%v", r)
				}
			})
			stop()
			inPlace(t, k, disk).expect(t, 0)
		})
	}
	for name, options := range map[string][]string{"loop": nil, "loop-read-only": {"--read-only"}} {
		t.Run(name, func(t *testing.T) {
			disk := copyImage(t, image, filepath.Join(bed.Dir(t), "disk.img"))
			device := attach(t, disk, options...)
			refused(t, disk, func(r result) {
				if r.code != 1 || !strings.Contains(r.stderr, device) && (options != nil || !strings.Contains(r.stderr, "open for writing")) {
					t.Errorf("want it refused, since %s has it:\n%v", device, r)
				}
			})
			peer(t, "losetup", "--detach", device)
			awaitDetached(t, device, disk)
			inPlace(t, k, disk).expect(t, 0)
		})
	}
}

// startQEMU starts a guest that stands still before its first instruction, with a disk.
func startQEMU(t *testing.T, drive string) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-m", "16", "-qmp", "stdio",
		"-drive", drive, "-device", "virtio-blk-pci,drive=d")
	return startHolder(t, cmd, bed.Nobody, func(in io.Writer, out *bufio.Reader) error {
		_, err := out.ReadString('\n') // the greeting
		if err == nil {
			_, err = io.WriteString(in, `{"execute": "qmp_capabilities"}`+"\n")
		}
		if err == nil {
			_, err = out.ReadString('\n') // comes when the machine is made
		}
		return err
	})
}

// openWith starts a program that has the file open for writing, and does nothing with it.
func openWith(t *testing.T, path string, uid int) (pid int, stop func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("cat")
	cmd.ExtraFiles = []*os.File{f}
	return startHolder(t, cmd, uid, func(io.Writer, *bufio.Reader) error { return nil })
}

// startHolder starts a program as a user.
func startHolder(t *testing.T, cmd *exec.Cmd, uid int, ready func(in io.Writer, out *bufio.Reader) error) (pid int, stop func()) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	cmd.Env = bed.Environment()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(stop)
	if err := ready(stdin, bufio.NewReader(stdout)); err != nil {
		stop()
		t.Fatalf("%s: %v\n%s", cmd.Args[0], err, stderr.String())
	}
	return cmd.Process.Pid, stop
}
