package hostfile

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inUse is what keeps Lock from working, if anything does.
func inUse(t *testing.T, path string) *InUseError {
	t.Helper()
	img, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	err = img.Lock(ForCopying)
	var e *InUseError
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e
}

// qemuIO opens the image in a qemu-io that stays until the test's end. Its first
// prompt says that it has its locks.
func qemuIO(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(tool(t, "qemu-io"), args...)
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
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	io.WriteString(stdin, "length\n")
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("qemu-io: %q, %v", line, err)
	}
}

func TestQEMUWrites(t *testing.T) {
	path := extDisk(t)
	if e := inUse(t, path); e != nil {
		t.Fatalf("nobody uses it: %v", e)
	}
	qemuIO(t, "-f", "raw", path)
	e := inUse(t, path)
	if e == nil || !strings.Contains(e.How, "QEMU") || !strings.HasPrefix(e.Holder, "qemu-io (pid ") {
		t.Errorf("error %v", e)
	}
	for _, mode := range []LockMode{ForReading, ForCopying} {
		if err := open(t, path).Lock(mode); err == nil {
			t.Error("locked beside a QEMU that writes")
		}
	}
}

// TestQEMUReads: a QEMU that only reads does not mind, and we do not mind it.
func TestQEMUReads(t *testing.T) {
	path := extDisk(t)
	qemuIO(t, "-r", "-f", "raw", path)
	if e := inUse(t, path); e != nil {
		t.Errorf("error %v", e)
	}
}

// TestKeepsQEMUAway lets QEMU try while we hold the image, and once more after.
func TestKeepsQEMUAway(t *testing.T) {
	path := extDisk(t)
	qemu := tool(t, "qemu-io")
	img := open(t, path)
	if err := img.Lock(ForCopying); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Lock(ForCopying); err != nil {
		t.Errorf("a second reader: %v", err)
	}
	out, err := exec.Command(qemu, "-f", "raw", "-c", "write 0 512", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "lock") {
		t.Errorf("QEMU wrote: %v\n%s", err, out)
	}
	if out, err := exec.Command(qemu, "-r", "-f", "raw", "-c", "read 0 512", path).CombinedOutput(); err != nil {
		t.Errorf("QEMU could not read: %v\n%s", err, out)
	}
}

func TestLockReleased(t *testing.T) {
	path := extDisk(t)
	img, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Lock(ForCopying); err != nil {
		t.Fatal(err)
	}
	img.Close()
	run(t, "", "qemu-io", "-f", "raw", "-c", "write 0 512", path)
}

// TestWriteLocks holds each kind of write lock from another file description.
func TestWriteLocks(t *testing.T) {
	for name, take := range map[string]func(fd int) error{
		"flock": func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) },
		"fcntl": func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 5000, Len: 1})
		},
		"fcntl on QEMU's bytes": func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		},
	} {
		path := extDisk(t)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := take(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		if e := inUse(t, path); e == nil || !strings.Contains(e.How, "locked") {
			t.Errorf("%s: %v", name, e)
		}
		f.Close()
		if e := inUse(t, path); e != nil {
			t.Errorf("%s, after it was released: %v", name, e)
		}
	}
}

func TestLoop(t *testing.T) {
	path := extDisk(t)
	dev := loop(t, path)
	link := filepath.Join(filepath.Dir(path), "link")
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if e := inUse(t, p); e == nil || e.Holder != dev {
			t.Errorf("%s: %v, want %s", p, e, dev)
		}
		if err := open(t, p).Lock(ForReading); err == nil {
			t.Error("locked for reading beside a writable loop device")
		}
	}
}

func TestReadOnlyLoop(t *testing.T) {
	path := extDisk(t)
	loop(t, path, "--read-only")
	if e := inUse(t, path); e == nil {
		t.Error("not seen")
	}
	if err := open(t, path).Lock(ForReading); err != nil {
		t.Error(err)
	}
}

// TestBlockDevice opens an image through a loop device, mounted and not.
func TestBlockDevice(t *testing.T) {
	path := extDisk(t)
	dev := loop(t, path)
	img := open(t, dev)
	if img.Size() != 8*mib {
		t.Errorf("size %d", img.Size())
	}
	if e := inUse(t, dev); e != nil {
		t.Errorf("nobody uses it: %v", e)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := errors.Join(img.CopyTo(t.Context(), out, func(int64) {}), img.CopyMode(out)); err != nil {
		t.Fatal(err)
	}
	if sum(t, out.Name()) != sum(t, path) {
		t.Error("the copy differs")
	}
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext2", unix.MS_RDONLY, ""); err != nil {
		if err := unix.Mount(dev, dir, "ext4", unix.MS_RDONLY, ""); err != nil {
			unavailable(t, "mounting: "+err.Error())
		}
	}
	defer unix.Unmount(dir, 0)
	if e := inUse(t, dev); e == nil || !strings.Contains(e.How, "mounted") {
		t.Errorf("mounted: %v", e)
	}
}
