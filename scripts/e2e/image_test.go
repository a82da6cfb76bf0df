package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// newImage makes an empty sparse image file.
func newImage(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Chown(bed.Nobody, bed.Nobody), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// mke2fs makes a file system of the given kind in an image of the given size (in MiB).
func mke2fs(t *testing.T, dir string, mib int64, args ...string) string {
	t.Helper()
	image := newImage(t, dir, "in.img", mib<<20)
	// -F -F: also block sizes that this machine's kernel cannot mount.
	peer(t, "mke2fs", append(append([]string{"-q", "-F", "-F"}, args...), image)...)
	return image
}

// attach gives an image a loop device. The device goes away by itself once it is neither mounted nor held.
func attach(t *testing.T, image string, options ...string) string {
	t.Helper()
	args := append([]string{"--find", "--show"}, options...)
	return strings.TrimSpace(peer(t, "losetup", append(args, image)...))
}

// mount mounts an image (its file system at the byte offset) and returns the folder and what unmounts it.
// The test's end unmounts at the latest.
func mount(t *testing.T, image string, readOnly bool, offset int64) (dir string, umount func()) {
	t.Helper()
	dir, err := os.MkdirTemp(bed.Folder(), "m-")
	if err != nil {
		t.Fatal(err)
	}
	mode, loop := "rw,noatime", []string{"--offset", strconv.FormatInt(offset, 10)}
	if readOnly {
		mode, loop = "ro", append(loop, "--read-only")
	}
	device := attach(t, image, loop...)
	out, err := try("mount", "-o", mode, device, dir)
	try("losetup", "--detach", device) // when mounted, only marks it to go with the mount
	if err != nil {
		t.Fatalf("mounting %s: %v\n%s", image, err, out)
	}
	done := false
	umount = func() {
		t.Helper()
		if done {
			return
		}
		done = true
		// A child keeps every open file of its parent until it executes its program, and so a mount busy.
		var err error
		await(func() bool { err = unix.Unmount(dir, 0); return err != unix.EBUSY })
		if err != nil {
			t.Errorf("unmounting %s: %v", image, err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		os.Remove(dir)
		awaitDetached(t, device, image)
	}
	t.Cleanup(umount)
	return dir, umount
}

// awaitDetached returns once the loop device has let go of the image: whoever looks through the devices, as losetup
// --find does, may hold it for a moment longer than the mount did.
func awaitDetached(t *testing.T, device, image string) {
	t.Helper()
	backing := filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file")
	if !await(func() bool {
		b, err := os.ReadFile(backing)
		return err != nil || strings.TrimSpace(string(b)) != image
	}) {
		t.Errorf("%s still holds %s", device, image)
	}
}

// await waits for a condition that others bring about, of which nothing tells. It gives up after two minutes.
func await(condition func() bool) bool {
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// viewImage mounts an image read-only, reads everything that the kernel shows of it, and unmounts it.
func viewImage(t *testing.T, image string, offset int64) view {
	t.Helper()
	dir, umount := mount(t, image, true, offset)
	defer umount()
	return readView(t, dir)
}

// fsck fails the test unless e2fsck finds nothing at all to say against the image.
func fsck(t *testing.T, image string) {
	t.Helper()
	if out, err := try("e2fsck", "-fn", image); err != nil {
		t.Errorf("e2fsck -fn %s: %v\n%s", filepath.Base(image), err, bed.Clip(out))
	}
}

// fsckAt is fsck for a file system that starts inside an image.
func fsckAt(t *testing.T, image string, offset int64) {
	t.Helper()
	fsck(t, image+"?offset="+strconv.FormatInt(offset, 10))
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// copyImage copies an image sparsely; the copy belongs to the unprivileged user.
func copyImage(t *testing.T, from, to string) string {
	t.Helper()
	peer(t, "cp", "--sparse=always", "--reflink=auto", from, to)
	if err := os.Chown(to, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}
	return to
}

// debugfs runs debugfs commands on an image. debugfs exits 0 even when a command failed, so what it says on standard
// error beyond its banner is a failure too.
func debugfs(t *testing.T, image string, write bool, commands ...string) string {
	t.Helper()
	args := []string{"-f", "-"}
	if write {
		args = append(args, "-w")
	}
	cmd := exec.Command("debugfs", append(args, image)...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	complaint := ""
	for _, line := range strings.Split(stderr.String(), "\n") {
		if line != "" && !strings.HasPrefix(line, "debugfs 1.") && !strings.HasPrefix(line, "Warning: ") {
			complaint += line + "\n"
		}
	}
	if err != nil || complaint != "" {
		t.Fatalf("debugfs %q on %s: %v\n%s", commands, filepath.Base(image), err, complaint)
	}
	return stdout.String()
}

func sumOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
