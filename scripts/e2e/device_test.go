package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// A deviceBed is a folder with nodes of block devices that the unprivileged user may open, and with imagetool's state.
type deviceBed struct{ dir string }

func newDeviceBed(t *testing.T) *deviceBed {
	return &deviceBed{bed.Dir(t)}
}

func (b *deviceBed) state() string { return filepath.Join(b.dir, "state") }

// node makes a device node for a device of the kernel's name (loop3, loop3p1).
func (b *deviceBed) node(t *testing.T, name string) string {
	t.Helper()
	var major, minor uint32
	number, err := os.ReadFile("/sys/class/block/" + name + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(number), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.dir, name)
	os.Remove(path) // a partition does not always get the same number
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if err := os.Chown(path, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}
	return path
}

// attach gives an image a loop device, and that a node. detach waits until it has let go.
func (b *deviceBed) attach(t *testing.T, image string, options ...string) (node string, detach func()) {
	t.Helper()
	device := attach(t, image, options...)
	detached := false
	detach = func() {
		t.Helper()
		if !detached {
			detached = true
			peer(t, "losetup", "--detach", device)
			awaitDetached(t, device, image)
		}
	}
	t.Cleanup(detach)
	return b.node(t, filepath.Base(device)), detach
}

// partition gives a gptDisk that the kernel knows by this name its partition of this size, where the kernel does not
// read such tables itself.
func partition(t *testing.T, name string, size int64) string {
	t.Helper()
	if !exists("/sys/class/block/" + name + "p1") {
		peer(t, "addpart", "/dev/"+name, "1", itoa(gptStart/512), itoa(int(size/512)))
	}
	return name + "p1"
}

func (b *deviceBed) command(args ...string) *exec.Cmd {
	cmd := ordered(args...)
	cmd.Env = append(cmd.Env, "VMSEAL_STATE_DIR="+b.state())
	return cmd
}

func (b *deviceBed) run(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, b.command(args...))
}

// logs are those that are there. Whoever may see them may see what is in the image, so nobody else may.
func (b *deviceBed) logs(t *testing.T) []string {
	t.Helper()
	folder := filepath.Join(b.state(), "undo")
	logs, _ := filepath.Glob(folder + "/*")
	for path, want := range map[string]os.FileMode{b.state(): 0o700, folder: 0o700} {
		expectMode(t, path, want|os.ModeDir)
	}
	for _, log := range logs {
		expectMode(t, log, 0o600)
	}
	return logs
}

func expectMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

// A deviceCase is an image behind a loop device, or behind the partition of one.
type deviceCase struct {
	name, image, signed string
	partition           bool
	options             []string // of losetup
}

func (c *deviceCase) attach(t *testing.T, b *deviceBed, image string) (node string, detach func()) {
	t.Helper()
	node, detach = b.attach(t, image, c.options...)
	if c.partition {
		node = b.node(t, partition(t, filepath.Base(node), tinySize))
	}
	return node, detach
}

// sign: a device is signed as its file would be.
func (c *deviceCase) sign(t *testing.T, k *key) {
	b := newDeviceBed(t)
	image, manifest := copyImage(t, c.image, filepath.Join(b.dir, "disk.img")), filepath.Join(b.dir, "manifest")
	node, detach := c.attach(t, b, image)
	b.run(t, "sign", "--key", k.private, node, "--in-place", "--manifest", manifest).expect(t, 0)
	b.run(t, "verify", "--trust", k.public, "--manifest", manifest, node).expect(t, 0)
	if logs := b.logs(t); len(logs) > 0 {
		t.Errorf("left behind: %v", logs)
	}
	b.run(t, "recover", node).expect(t, 1)
	detach()
	expectSame(t, "signed as a file and as a device", c.signed, image)
}

// kill: the log of a run that was killed finds its device again under another number.
func (c *deviceCase) kill(t *testing.T, k *key) {
	b := newDeviceBed(t)
	image := copyImage(t, c.image, filepath.Join(b.dir, "disk.img"))
	node, detach := c.attach(t, b, image)
	killAt(t, b.command("sign", "--jobs", "1", "--key", k.private, node, "--in-place"), b.dir, 6,
		func(op operation) bool { return op.name == "pwrite64" && op.path == node })
	if logs := b.logs(t); len(logs) != 1 {
		t.Fatalf("there is not one log: %v", logs)
	}
	detach()
	if fileSum(t, image) == fileSum(t, c.image) {
		t.Fatal("nothing was written before the kill")
	}
	c.expectStranger(t, b, node)
	again, detach := c.attach(t, b, image)
	if again == node {
		t.Fatal("the device has its old number")
	}
	for _, args := range [][]string{{"inspect", again}, {"sign", "--key", k.private, again, "--in-place"}} {
		if r := b.run(t, args...).expect(t, 1); !strings.Contains(r.stderr, "imagetool recover "+again) {
			t.Errorf("recover is not named:\n%v", r)
		}
	}
	b.run(t, "recover", again).expect(t, 0)
	detach()
	expectSame(t, "the image before and after", c.image, image)
	if logs := b.logs(t); len(logs) > 0 {
		t.Errorf("left behind: %v", logs)
	}
}

// expectStranger: another image under the old number has nothing to do with the log. It keeps the number until the test
// ends.
func (c *deviceCase) expectStranger(t *testing.T, b *deviceBed, node string) {
	t.Helper()
	whole, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(node), "loop"), "p")
	device := "/dev/loop" + whole
	other := copyImage(t, c.image, filepath.Join(b.dir, "other.img"))
	if out, err := try("losetup", append(c.options, device, other)...); err != nil {
		t.Logf("somebody else was quicker to take the number: %s", out)
		return
	}
	t.Cleanup(func() { peer(t, "losetup", "--detach", device) })
	name := filepath.Base(device)
	if c.partition {
		name = partition(t, name, tinySize)
	}
	b.node(t, name)
	b.run(t, "inspect", node).expect(t, 0)
	b.run(t, "recover", node).expect(t, 1)
}

// TestBlockDevices signs block devices in place.
func TestBlockDevices(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "sfdisk", "addpart")
	k, fs := defaultKey(t), tinyImage(t, bed.Dir(t))
	disk := gptDisk(t, bed.Dir(t), fs)
	for _, c := range []*deviceCase{
		{name: "file-system", image: fs},
		{name: "gpt", image: disk, options: []string{"--partscan"}},
		{name: "partition", image: disk, options: []string{"--partscan"}, partition: true},
	} {
		c.signed = filepath.Join(bed.Dir(t), "signed.img")
		imagetool(t, "sign", "--key", k.private, c.image, "--out", c.signed).expect(t, 0)
		t.Run(c.name, func(t *testing.T) { c.sign(t, k) })
		t.Run(c.name+"-killed", func(t *testing.T) { c.kill(t, k) })
	}
	t.Run("read-only", func(t *testing.T) {
		b := newDeviceBed(t)
		image := copyImage(t, fs, filepath.Join(b.dir, "disk.img"))
		node, _ := b.attach(t, image, "--read-only")
		if r := b.run(t, "sign", "--key", k.private, node, "--in-place").expect(t, 1); !strings.Contains(r.stderr, "opening "+node+" for writing") {
			t.Errorf("want a word of writing:\n%v", r)
		}
		expectSame(t, "the image before and after", fs, image)
	})
	t.Run("mounted", func(t *testing.T) {
		b := newDeviceBed(t)
		image := copyImage(t, disk, filepath.Join(b.dir, "disk.img"))
		whole, _ := b.attach(t, image, "--partscan")
		part := b.node(t, partition(t, filepath.Base(whole), tinySize))
		at := filepath.Join(b.dir, "a mount\tpoint")
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		peer(t, "mount", "-o", "ro", "/dev/"+filepath.Base(part), at)
		defer unix.Unmount(at, 0)
		for _, node := range []string{whole, part} {
			for _, args := range [][]string{{"--in-place"}, {"--out", filepath.Join(b.dir, "out.img")}} {
				r := b.run(t, append([]string{"sign", "--key", k.private, node}, args...)...).expect(t, 1)
				if !strings.Contains(r.stderr, "mounted at "+strings.ReplaceAll(at, "\t", "%09")) {
					t.Errorf("it does not say where it is mounted:\n%v", r)
				}
			}
		}
		expectSame(t, "the image before and after", disk, image)
	})
	t.Run("held", func(t *testing.T) { // by somebody else who has it open exclusively
		b := newDeviceBed(t)
		image := copyImage(t, fs, filepath.Join(b.dir, "disk.img"))
		node, _ := b.attach(t, image)
		fd, err := unix.Open("/dev/"+filepath.Base(node), unix.O_RDONLY|unix.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if r := b.run(t, "sign", "--key", k.private, node, "--in-place").expect(t, 1); !strings.Contains(r.stderr, "in use") {
			t.Errorf("want it in use:\n%v", r)
		}
		expectSame(t, "the image before and after", fs, image)
	})
}
