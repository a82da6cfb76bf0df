package e2e

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// A kind is a format and sub-format of container, as qemu-img makes it.
type kind struct {
	name, format, options string
	anew                  bool // it cannot be written to: a copy of it is made anew
}

var kinds = []kind{
	{name: "qcow2", format: "qcow2"},
	{name: "qcow2-old", format: "qcow2", options: "compat=0.10"},
	{name: "qcow2-zstd", format: "qcow2", options: "compression_type=zstd"},
	{name: "qcow2-small-clusters", format: "qcow2", options: "cluster_size=512,refcount_bits=1"},
	{name: "qcow2-large-clusters", format: "qcow2", options: "cluster_size=2M,refcount_bits=64"},
	{name: "qcow2-subclusters", format: "qcow2", options: "extended_l2=on,cluster_size=128k"},
	{name: "qcow2-lazy", format: "qcow2", options: "lazy_refcounts=on"},
	{name: "qcow2-metadata", format: "qcow2", options: "preallocation=metadata"},
	{name: "qcow2-falloc", format: "qcow2", options: "preallocation=falloc"},
	{name: "vmdk", format: "vmdk"},
	{name: "vmdk-6", format: "vmdk", options: "compat6=on,zeroed_grain=on,adapter_type=lsilogic"},
	{name: "vmdk-stream", format: "vmdk", options: "subformat=streamOptimized", anew: true},
	{name: "vhd", format: "vpc"},
	{name: "vhd-fixed", format: "vpc", options: "subformat=fixed"},
	{name: "vhd-exact", format: "vpc", options: "subformat=dynamic,force_size=on"},
	{name: "vhdx", format: "vhdx"},
	{name: "vhdx-fixed", format: "vhdx", options: "subformat=fixed"},
	{name: "vhdx-large-blocks", format: "vhdx", options: "block_size=64M,log_size=2M"},
	{name: "vdi", format: "vdi"},
	{name: "vdi-static", format: "vdi", options: "static=on"},
}

// make puts a raw image into a container.
func (k kind) make(t *testing.T, raw, dir string) string {
	t.Helper()
	image := filepath.Join(dir, "disk."+map[string]string{"vpc": "vhd"}[k.format])
	if k.format != "vpc" {
		image = filepath.Join(dir, "disk."+k.format)
	}
	args := []string{"convert", "-O", k.format}
	if k.name == "qcow2-zstd" {
		args = append(args, "-c")
	}
	if k.options != "" {
		args = append(args, "-o", k.options)
	}
	peer(t, "qemu-img", append(args, raw, image)...)
	if err := os.Chown(image, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}
	return image
}

// judge wants a container to be whole, and to hold the disk that the raw image is.
func (k kind) judge(t *testing.T, image, raw string) {
	t.Helper()
	if out, err := try("qemu-img", "check", "-f", k.format, image); err != nil && !strings.Contains(out, "does not support checks") {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	peer(t, "qemu-img", "compare", "-f", "raw", "-F", k.format, raw, image)
	converted := filepath.Join(bed.Dir(t), "converted.img")
	peer(t, "qemu-img", "convert", "-f", k.format, "-O", "raw", image, converted)
	fsck(t, converted)
}

var randomID = regexp.MustCompile(`(?m)^ *(cid|parent cid|filename|disk size|file length|image): .*\n`)

// info is what qemu-img says of a container, without what a copy may have another one of.
func (k kind) info(t *testing.T, image string) string {
	return randomID.ReplaceAllString(peer(t, "qemu-img", "info", "-f", k.format, image), "")
}

// TestContainers signs a disk in each kind of container, in a copy and in place, as an ordinary user. What is in it is the
// same as in the image that was signed as raw, and its options stay.
func TestContainers(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "qemu-storage-daemon", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	raw := refused{spoil: asMade}.image(t, dir)
	signed, list := filepath.Join(dir, "signed.img"), filepath.Join(dir, "signed.manifest")
	imagetool(t, "sign", "--key", k.private, raw, "--out", signed, "--manifest", list).expect(t, 0)
	for _, c := range kinds {
		t.Run(c.name, func(t *testing.T) {
			dir := bed.Dir(t)
			image := c.make(t, raw, dir)
			sum, out := fileSum(t, image), filepath.Join(bed.Dir(t), "out"+filepath.Ext(image))
			r := imagetool(t, "sign", "--key", k.private, image, "--out", out, "--manifest", filepath.Join(dir, "manifest")).expect(t, 0)
			if fileSum(t, image) != sum {
				t.Error("the input changed")
			}
			if said := strings.Contains(r.stderr, "made anew by qemu-img"); said != c.anew {
				t.Errorf("made anew: %v, and it says:\n%v", c.anew, r)
			}
			c.judge(t, out, signed)
			if random := c.format == "vmdk" || c.format == "vhdx"; !random {
				twice := filepath.Join(filepath.Dir(out), "twice"+filepath.Ext(image))
				imagetool(t, "sign", "--key", k.private, image, "--out", twice).expect(t, 0)
				if fileSum(t, out) != fileSum(t, twice) {
					t.Error("a second run gives other bytes")
				}
			}
			if before, after := c.info(t, image), c.info(t, out); before != after {
				t.Errorf("from\n%s\nto\n%s", before, after)
			}
			imagetool(t, "verify", "--trust", k.public, "--manifest", list, out).expect(t, 0)
			if c.anew {
				inPlace(t, k, image).expect(t, 1)
				if fileSum(t, image) != sum {
					t.Error("the input changed")
				}
				return
			}
			inPlace(t, k, image).expect(t, 0)
			c.judge(t, image, signed)
			again := fileSum(t, image)
			inPlace(t, k, image).expect(t, 0)
			if fileSum(t, image) != again {
				t.Error("signing it again changes it")
			}
		})
	}
}

// TestBitmap: QEMU keeps a bitmap of what a backup has yet to save, and what is signed is in it.
func TestBitmap(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "qemu-storage-daemon", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image := kind{format: "qcow2"}.make(t, refused{spoil: asMade}.image(t, dir), dir)
	peer(t, "qemu-img", "bitmap", "--add", image, "backup")
	inPlace(t, k, image).expect(t, 0)
	info := peer(t, "qemu-img", "info", "--output=json", image)
	if !strings.Contains(info, `"name": "backup"`) || strings.Contains(info, "in-use") || !strings.Contains(info, `"auto"`) {
		t.Errorf("the bitmap is\n%s", info)
	}
	peer(t, "qemu-img", "check", image)
}

// TestContainerInUse: a running guest keeps its container to itself.
func TestContainerInUse(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "qemu-io", "qemu-storage-daemon", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image := kind{format: "qcow2"}.make(t, refused{spoil: asMade}.image(t, dir), dir)
	release := holdWithQEMU(t, image, "qcow2")
	expectRefused(t, image, "in use")
	inPlace(t, k, image).expect(t, 1)
	imagetool(t, "verify", "--trust", k.public, image).expect(t, 1)
	release()
	inPlace(t, k, image).expect(t, 0)
}

// TestNotNamed: no file is opened that an image refers to and nobody named.
func TestNotNamed(t *testing.T) {
	bed.Need(t, "qemu-img", "qemu-storage-daemon", "strace", "openssl")
	dir, secret, k := bed.Dir(t), bed.Dir(t), defaultKey(t)
	forbidden := filepath.Join(secret, "forbidden")
	at := func(name string) string { return filepath.Join(dir, name) }
	peer(t, "qemu-img", "create", "-q", "-f", "raw", forbidden, "16M")
	peer(t, "qemu-img", "create", "-q", "-f", "vmdk", forbidden+".vmdk", "16M")
	peer(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", forbidden, "-F", "raw", at("backing.qcow2"))
	peer(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+forbidden+".data,data_file_raw=on", at("data.qcow2"), "16M")
	peer(t, "qemu-img", "create", "-q", "-f", "vmdk", "-b", forbidden+".vmdk", "-F", "vmdk", at("parent.vmdk"))
	peer(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b",
		`json:{"driver":"raw","file":{"driver":"file","filename":"`+forbidden+`"}}`, at("json.qcow2"), "16M")
	peer(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "nbd+unix:///?socket="+forbidden, at("url.qcow2"), "16M")
	text := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 32768 FLAT \"" + forbidden + "\" 0\n"
	if err := os.WriteFile(at("flat.vmdk"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := peek(t, forbidden+".vmdk", 0, 64<<10) // one whose header says that its extents are in the descriptor
	clear(empty[12:20])
	copy(empty[512:], text+strings.Repeat("\x00", 1024))
	if err := os.WriteFile(at("empty.vmdk"), empty, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"backing.qcow2", "data.qcow2", "parent.vmdk", "json.qcow2", "url.qcow2", "flat.vmdk", "empty.vmdk"} {
		for _, args := range [][]string{
			{"inspect", at(name)},
			{"verify", "--trust", k.public, at(name)},
			{"sign", "--key", k.private, at(name), "--out", at("out." + name)},
		} {
			trace := filepath.Join(t.TempDir(), "trace")
			cmd := exec.Command("strace", append([]string{"-f", "-s", "4096", "-o", trace, "-e", "trace=%file,connect", bed.Program("imagetool")}, args...)...)
			cmd.Env = bed.Environment()
			r := finish(t, cmd)
			calls, err := os.ReadFile(trace)
			if err != nil || !strings.Contains(string(calls), name) {
				t.Fatalf("no trace: %v\n%v", err, r)
			}
			if strings.Contains(string(calls), secret) {
				t.Errorf("%s: a file was looked at that was not named:\n%v", name, r)
			}
			if refused := args[0] != "inspect"; refused && r.code != 1 {
				t.Errorf("%s was not refused:\n%v", name, r)
			}
		}
	}
}

// TestContainerKilled kills runs in place, or their daemon, at moments that nobody has chosen. The container's exact bytes
// come back.
func TestContainerKilled(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "qemu-storage-daemon", "openssl")
	dir, k := memoryDir(t, "512m"), defaultKey(t)
	raw := manyFiles(t, bed.Dir(t), 1000)
	c := kind{format: "qcow2", options: "cluster_size=4096"}
	image := c.make(t, raw, dir)
	saved := copyImage(t, image, filepath.Join(bed.Dir(t), "saved"))
	before := fileSum(t, image)
	signed := filepath.Join(bed.Dir(t), "signed.img")
	imagetool(t, "sign", "--key", k.private, raw, "--out", signed).expect(t, 0)
	signing := func() *exec.Cmd { return bed.AsNobody("imagetool", "sign", "--key", k.private, image, "--in-place") }
	whole, commit := spans(t, signing(), dir)
	t.Logf("a run takes %v, its commit %v", whole, commit)
	copyImage(t, saved, image)
	rnd, counts := rand.New(rand.NewSource(time.Now().UnixNano())), &tally{}
	settle := func(victim string) outcome {
		o := settleContainer(t, c, image, before, signed)
		counts.add(victim + ": " + string(o))
		if o == complete {
			copyImage(t, saved, image)
		}
		left, _ := filepath.Glob(filepath.Join(dir, ".vmseal-*"))
		if len(left) > 1 {
			t.Errorf("it left %v", left)
		}
		for _, hidden := range left {
			os.Remove(hidden)
		}
		return o
	}
	for range 50 {
		killSoon(t, signing(), rnd, whole, func() error { return nil })
		settle("imagetool")
		killDaemonSoon(t, signing(), rnd, whole)
		settle("daemon")
	}
	recovered := 0
	for tries := 0; recovered < 50 && tries < 200; tries++ {
		await := watchFolder(t, dir, unix.IN_MOVED_TO)
		killSoon(t, signing(), rnd, commit, func() error { return await(unix.IN_MOVED_TO) })
		if settle("imagetool, once the log is there") == pending {
			recovered++
		}
	}
	t.Logf("%v", counts)
	if recovered < 50 {
		t.Errorf("only %d runs were killed half way", recovered)
	}
}

// spans are how long an undisturbed run takes, and its commit.
func spans(t *testing.T, cmd *exec.Cmd, dir string) (whole, commit time.Duration) {
	t.Helper()
	await := watchFolder(t, dir, unix.IN_MOVED_TO|unix.IN_DELETE)
	start := time.Now()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err := await(unix.IN_MOVED_TO)
	named := time.Now()
	err = errors.Join(err, await(unix.IN_DELETE))
	commit = time.Since(named)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return time.Since(start), commit
}

// settleContainer recovers a container where that is needed, and says what it was.
func settleContainer(t *testing.T, c kind, image, before, signed string) outcome {
	t.Helper()
	o := untouched
	if exists(image + logSuffix) {
		o = pending
		imagetool(t, "verify", "--trust", defaultKey(t).public, image).expect(t, 1)
		imagetool(t, "recover", image).expect(t, 0)
	}
	if fileSum(t, image) == before {
		return o
	}
	if o == pending {
		t.Fatal("recover has not brought back the bytes")
	}
	c.judge(t, image, signed)
	return complete
}

// killDaemonSoon kills the daemon of a run within the span.
func killDaemonSoon(t *testing.T, cmd *exec.Cmd, rnd *rand.Rand, span time.Duration) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rnd.Int63n(int64(span)))) // no event is waited for: any moment will do
	threads, _ := filepath.Glob("/proc/" + itoa(cmd.Process.Pid) + "/task/*/children")
	for _, list := range threads {
		children, _ := os.ReadFile(list)
		for _, pid := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(pid); err == nil {
				unix.Kill(n, unix.SIGKILL)
			}
		}
	}
	cmd.Wait()
}

// TestContainerNoRoom signs where there is room for the copy, and not for what is added to it.
func TestContainerNoRoom(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "qemu-img", "qemu-storage-daemon", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image := kind{format: "qcow2", options: "cluster_size=4096"}.make(t, manyFiles(t, dir, 1000), dir)
	signed := filepath.Join(dir, "signed.qcow2")
	imagetool(t, "sign", "--key", k.private, image, "--out", signed).expect(t, 0)
	size, more := allocated(t, image), allocated(t, signed)-allocated(t, image)
	const some = 64 << 10
	for name, room := range map[string]int64{"no copy": size / 2, "no label": size + some} {
		small := memoryDir(t, itoa(int(room)))
		r := imagetool(t, "sign", "--key", k.private, image, "--out", filepath.Join(small, "out.qcow2")).expect(t, 1)
		if !strings.Contains(r.stderr, "o space left on device") || !strings.Contains(r.stderr, "hint: the output needs as much room") {
			t.Errorf("%s: %v", name, r)
		}
		expectEmpty(t, small)
	}
	for name, room := range map[string]int64{"no copy": size + some, "no label": 2*size + some, "no log": 2*size + more + some} {
		small := memoryDir(t, itoa(int(room)))
		own := copyImage(t, image, filepath.Join(small, "disk.qcow2"))
		r := inPlace(t, k, own).expect(t, 1)
		if !strings.Contains(r.stderr, "o space left on device") || !strings.Contains(r.stderr, "nothing was changed") {
			t.Errorf("%s: %v", name, r)
		}
		if fileSum(t, own) != fileSum(t, image) {
			t.Errorf("%s: the image changed", name)
		}
		os.Remove(own)
		expectEmpty(t, small)
	}
}

// allocated is how much room a file takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("it left %s", f.Name())
	}
}
