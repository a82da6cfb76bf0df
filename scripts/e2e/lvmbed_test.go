package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// An lvmBed is LVM2 with devices, a configuration and locks of its own: it sees no device of this host but those that the
// test gives it. No volume is activated, so it needs no device mapper.
type lvmBed struct {
	dir      string
	attached []func()
}

// detach takes all devices away.
func (b *lvmBed) detach() {
	for _, f := range b.attached {
		f()
	}
	b.attached = nil
}

func newLVMBed(t *testing.T) *lvmBed {
	t.Helper()
	bed.Need(t, "lvm", "mke2fs", "e2fsck", "losetup", "sfdisk", "mkswap", "openssl", "evmctl")
	b := &lvmBed{dir: bed.Dir(t)}
	for _, name := range []string{"etc", "dev", "lock"} {
		if err := os.Mkdir(filepath.Join(b.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf(`devices {
	dir = "%[1]s/dev"
	scan = [ "%[1]s/dev" ]
	use_devicesfile = 0
	obtain_device_list_from_udev = 0
	external_device_info_source = "none"
	hints = "none"
}
global {
	locking_dir = "%[1]s/lock"
	use_lvmpolld = 0
	system_id_source = "none"
	event_activation = 0
}
activation {
	udev_sync = 0
	udev_rules = 0
	monitoring = 0
}
local {
	extra_system_ids = [ "other" ]
}
backup {
	backup = 0
	archive = 0
}
`, b.dir)
	if err := os.WriteFile(filepath.Join(b.dir, "etc/lvm.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.detach)
	return b
}

// lvm runs a command of LVM2.
func (b *lvmBed) lvm(t *testing.T, command string, args ...string) string {
	t.Helper()
	all := append([]string{"LVM_SYSTEM_DIR=" + b.dir + "/etc", "LVM_SUPPRESS_FD_WARNINGS=1", "lvm", command, "--driverloaded", "n"}, args...)
	return peer(t, "env", all...)
}

// create makes a volume without looking at its bytes.
func (b *lvmBed) create(t *testing.T, args ...string) {
	t.Helper()
	b.lvm(t, "lvcreate", append([]string{"--quiet", "--activate", "n", "--zero", "n", "--wipesignatures", "n", "--yes"}, args...)...)
}

// attach gives a stretch of an image a device that this LVM2 sees.
func (b *lvmBed) attach(t *testing.T, image string, p stretch) (node string) {
	t.Helper()
	device := attach(t, image, "--offset", itoa(int(p.start)), "--sizelimit", itoa(int(p.size)))
	node = filepath.Join(b.dir, "dev", filepath.Base(device))
	peer(t, "cp", "-a", device, node)
	b.attached = append(b.attached, func() {
		os.Remove(node)
		try("losetup", "--detach", device)
		awaitDetached(t, device, image)
	})
	return node
}

// A stretch is bytes of an image.
type stretch struct{ start, size int64 }

// An lvmDisk is an image with physical volumes, and where its logical volumes lie by what LVM2 reports.
type lvmDisk struct {
	image   string
	volumes map[string][]stretch
}

// build lets LVM2 make a group on parts of an image, and asks where the volumes lie.
func (b *lvmBed) build(t *testing.T, image string, parts []stretch, make func(nodes []string)) *lvmDisk {
	t.Helper()
	d := &lvmDisk{image: image, volumes: map[string][]stretch{}}
	starts := map[string]int64{}
	var nodes []string
	for _, p := range parts {
		node := b.attach(t, image, p)
		nodes = append(nodes, node)
		starts[node] = p.start
	}
	make(nodes)
	for line := range strings.Lines(b.lvm(t, "pvs", "--noheadings", "--units", "b", "--nosuffix", "--options", "pv_name,pe_start")) {
		f := strings.Fields(line)
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		starts[f[0]] += n
	}
	size, err := strconv.ParseInt(strings.TrimSpace(b.lvm(t, "vgs", "--noheadings", "--units", "b", "--nosuffix", "--options", "vg_extent_size")), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	extents := regexp.MustCompile(`^ *(\S+) +(\S+):(\d+)-(\d+) *$`)
	out := b.lvm(t, "lvs", "--noheadings", "--options", "lv_name,seg_pe_ranges", "--sort", "lv_name,seg_start")
	for line := range strings.Lines(out) {
		m := extents.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue // not linear
		}
		first, _ := strconv.ParseInt(m[3], 10, 64)
		last, _ := strconv.ParseInt(m[4], 10, 64)
		d.volumes[m[1]] = append(d.volumes[m[1]], stretch{starts[m[2]] + first*size, (last - first + 1) * size})
	}
	b.detach()
	return d
}

// put writes a file into a volume.
func (d *lvmDisk) put(t *testing.T, volume, file string) {
	t.Helper()
	at := int64(0)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.volumes[volume] {
		if n := min(p.size, info.Size()-at); n > 0 {
			poke(t, d.image, p.start, peek(t, file, at, int(n)))
			at += n
		}
	}
	if at < info.Size() {
		t.Fatalf("%s does not fit into %s, which has %d bytes", file, volume, at)
	}
}

// take copies a volume out of an image that has the same layout.
func (d *lvmDisk) take(t *testing.T, image, volume string) string {
	t.Helper()
	size := int64(0)
	for _, p := range d.volumes[volume] {
		size += p.size
	}
	out := newImage(t, bed.Dir(t), volume+".img", size)
	at := int64(0)
	for _, p := range d.volumes[volume] {
		poke(t, out, at, peek(t, image, p.start, int(p.size)))
		at += p.size
	}
	return out
}

// expectRest: nothing but these volumes differs between two images.
func (d *lvmDisk) expectRest(t *testing.T, before, after string, volumes ...string) {
	t.Helper()
	dir := bed.Dir(t)
	sums := [2]string{}
	for i, image := range []string{before, after} {
		copied := copyImage(t, image, filepath.Join(dir, itoa(i)+".img"))
		for _, v := range volumes {
			for _, p := range d.volumes[v] {
				poke(t, copied, p.start, make([]byte, p.size))
			}
		}
		sums[i] = fileSum(t, copied)
		os.Remove(copied)
	}
	if sums[0] != sums[1] {
		t.Error("something outside of the volumes changed")
	}
}
