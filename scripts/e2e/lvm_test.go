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

const mib = 1 << 20

// An lvmKind is a way to lay out a disk with physical volumes.
type lvmKind struct {
	name   string
	size   int64
	table  string // for sfdisk; none for a whole disk
	parts  []stretch
	boot   int64    // where a file system lies in a partition of its own; 0 for none
	pv, vg []string // options of pvcreate and vgcreate
	odd    bool     // segments of extents that are smaller than blocks
}

var lvmKinds = []lvmKind{
	{name: "gpt", size: 120 * mib, boot: mib, parts: []stretch{{33 * mib, 44 * mib}, {78 * mib, 40 * mib}},
		table: "label: gpt\nstart=2048, size=65536, type=linux\nstart=67584, size=90112, type=lvm\nstart=159744, size=81920, type=lvm\n"},
	{name: "mbr", size: 120 * mib, boot: mib, parts: []stretch{{33 * mib, 44 * mib}, {78 * mib, 40 * mib}},
		table: "label: dos\nstart=2048, size=65536, type=83\nstart=67584, size=90112, type=8e\nstart=159744, size=81920, type=8e\n"},
	{name: "whole-disk", size: 90 * mib, parts: []stretch{{0, 90 * mib}}},
	{name: "two-copies", size: 90 * mib, parts: []stretch{{0, 90 * mib}}, pv: []string{"--metadatacopies", "2", "--bootloaderareasize", "1m"}},
	{name: "no-copy", size: 120 * mib, boot: mib, parts: []stretch{{33 * mib, 44 * mib}, {78 * mib, 40 * mib}}, vg: []string{"--vgmetadatacopies", "1"},
		table: "label: gpt\nstart=2048, size=65536, type=linux\nstart=67584, size=90112, type=lvm\nstart=159744, size=81920, type=lvm\n"},
	{name: "small-extents", size: 90 * mib, parts: []stretch{{0, 90 * mib}}, vg: []string{"--physicalextentsize", "1k"}, odd: true},
}

// make builds the disk: root in several segments, data in one, swap, and something in a partition of its own.
func (k *lvmKind) make(t *testing.T, b *lvmBed) *lvmDisk {
	t.Helper()
	image := newImage(t, bed.Dir(t), "disk.img", k.size)
	if k.table != "" {
		peerInput(t, k.table, "sfdisk", "--quiet", image)
	}
	d := b.build(t, image, k.parts, func(nodes []string) {
		last := nodes[len(nodes)-1]
		for _, node := range nodes {
			b.lvm(t, "pvcreate", append([]string{"--quiet", "--metadatasize", "1m", node}, k.pv...)...)
		}
		b.lvm(t, "vgcreate", append(append([]string{"--quiet", "vg"}, nodes...), k.vg...)...)
		first := "12m"
		if k.odd {
			first = strconv.Itoa(12*1024+1) + "k"
		}
		b.create(t, "--name", "root", "--size", first, "vg", nodes[0])
		b.create(t, "--name", "swap", "--size", "4m", "vg", nodes[0])
		b.lvm(t, "lvextend", "--quiet", "--size", "32m", "vg/root", last)
		b.create(t, "--name", "empty", "--size", "4m", "vg", nodes[0])
		if len(nodes) == 1 {
			b.create(t, "--name", "data", "--size", "32m", "vg")
		}
		for range 40 { // the ring of metadata comes round
			b.lvm(t, "lvchange", "--quiet", "--addtag", strings.Repeat("long", 200), "vg/root")
			b.lvm(t, "lvchange", "--quiet", "--deltag", strings.Repeat("long", 200), "vg/root")
		}
	})
	if n := len(d.volumes["root"]); n < 2 {
		t.Fatalf("root has %d segments", n)
	}
	d.put(t, "root", smallImage(t, bed.Dir(t)))
	if d.volumes["data"] != nil {
		d.put(t, "data", smallImage(t, bed.Dir(t)))
	}
	pages := newImage(t, bed.Dir(t), "swap.img", 4*mib)
	peer(t, "mkswap", pages)
	d.put(t, "swap", pages)
	if k.boot != 0 {
		poke(t, image, k.boot, peek(t, smallImage(t, bed.Dir(t)), 0, 32*mib))
	}
	return d
}

// systems are the file systems of the disk, by how paths name them, each as a file.
func (k *lvmKind) systems(t *testing.T, d *lvmDisk, image string) map[string]string {
	t.Helper()
	all := map[string]string{"vg/root": d.take(t, image, "root")}
	if d.volumes["data"] != nil {
		all["vg/data"] = d.take(t, image, "data")
	}
	if k.boot != 0 {
		all["1"] = newImage(t, bed.Dir(t), "boot.img", 32*mib)
		poke(t, all["1"], 0, peek(t, image, k.boot, 32*mib))
	}
	return all
}

// TestLVM signs disks with logical volumes that LVM2 has laid out, and takes its word for where they lie: each must be
// clean for e2fsck, and have evmctl's values for the kernel. All else stays as it is.
func TestLVM(t *testing.T) {
	for _, k := range lvmKinds {
		t.Run(k.name, func(t *testing.T) {
			b, key, dir := newLVMBed(t), defaultKey(t), bed.Dir(t)
			d := k.make(t, b)
			signed, list := filepath.Join(dir, "signed.img"), filepath.Join(dir, "manifest")
			imagetool(t, "sign", "--key", key.private, d.image, "--out", signed, "--manifest", list).expect(t, 0)
			before, after := k.systems(t, d, d.image), k.systems(t, d, signed)
			for name := range before {
				fsck(t, after[name])
				expectSigned(t, key, viewImage(t, before[name], 0), viewImage(t, after[name], 0))
			}
			changed := []string{"root"}
			if d.volumes["data"] != nil {
				changed = append(changed, "data")
				fsckAt(t, signed, d.volumes["data"][0].start)
				viewImage(t, signed, d.volumes["data"][0].start) // the kernel mounts it where it lies
			}
			if k.boot == 0 {
				d.expectRest(t, d.image, signed, changed...)
			}
			imagetool(t, "verify", "--trust", key.public, signed, "--manifest", list).expect(t, 0)
			imagetool(t, "verify", "--trust", key.public, signed, "--partition", "vg/root").expect(t, 0)
			proveInPlace(t, key, d.image, signed)

			one := filepath.Join(dir, "one.img")
			imagetool(t, "sign", "--key", key.private, d.image, "--out", one, "--partition", "vg/root").expect(t, 0)
			d.expectRest(t, d.image, one, "root")
			expectSame(t, "root signed alone and with others", d.take(t, one, "root"), after["vg/root"])
			imagetool(t, "verify", "--trust", key.public, one).expect(t, 3)
		})
	}
}

// TestLVMCommands: volumes are named wherever partitions are.
func TestLVMCommands(t *testing.T) {
	b, key, dir := newLVMBed(t), defaultKey(t), bed.Dir(t)
	d := lvmKinds[0].make(t, b)
	signed := filepath.Join(dir, "signed.img")
	imagetool(t, "sign", "--key", key.private, d.image, "--out", signed, "--leave-out", "1").expect(t, 0)
	contains := func(r result, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(r.stdout+r.stderr, text) {
				t.Errorf("it does not say %q:\n%v", text, r)
			}
		}
	}
	contains(imagetool(t, "inspect", "--check", d.image).expect(t, 0), "volume vg/root: ext4", "volume vg/swap: swap", "partition 2: LVM2_member", "group  vg")
	contains(imagetool(t, "inspect", "--json", d.image).expect(t, 0), `"number":1,`, `"number":"vg/root"`, `"group":"vg"`, `"segments":[{"start":`)
	contains(imagetool(t, "ls", signed, "vg/root:/"), "file")
	contains(imagetool(t, "cat", signed, "vg/root:/file").expect(t, 0))
	contains(imagetool(t, "cat", "--trust", key.public, signed, "vg/root:/file").expect(t, 0))
	contains(imagetool(t, "cat", signed, "vg/rot:/file").expect(t, 1), "has no volume vg/rot")
	contains(imagetool(t, "xattr", "--trust", key.public, signed, "vg/root:/file").expect(t, 0), "security.ima")
	contains(imagetool(t, "diff", d.image, signed).expect(t, 3), "changed  vg/root:/file: label")
	contains(imagetool(t, "verify", "--trust", key.public, signed).expect(t, 3), "1:/file: unsigned")
	imagetool(t, "verify", "--trust", key.public, signed, "--leave-out", "1").expect(t, 0)
	imagetool(t, "verify", "--trust", key.public, signed, "vg/root:/file").expect(t, 0)
	imagetool(t, "verify", "--trust", key.public, signed, "--partition", "3").expect(t, 0) // what lies on it
	contains(imagetool(t, "verify", "--trust", key.public, signed, "--partition", "vg/gone").expect(t, 1), "vg/gone")
	contains(imagetool(t, "sign", "--key", key.private, d.image, "--dry-run", "--leave-out", "1", "--leave-out", "2").expect(t, 1), "has no ext2, ext3 or ext4")
	imagetool(t, "verify", "--trust", key.public, signed, "--partition", "vg:root").expect(t, 2)
}

// TestLVMContainer: what holds for a raw image holds for a qcow2 with the same disk.
func TestLVMContainer(t *testing.T) {
	bed.Need(t, "qemu-img", "qemu-storage-daemon")
	b, key, dir := newLVMBed(t), defaultKey(t), bed.Dir(t)
	d := lvmKinds[0].make(t, b)
	signed, image, out := filepath.Join(dir, "signed.img"), filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "out.qcow2")
	imagetool(t, "sign", "--key", key.private, d.image, "--out", signed).expect(t, 0)
	peer(t, "qemu-img", "convert", "-O", "qcow2", d.image, image)
	peer(t, "chown", itoa(bed.Nobody), image)
	imagetool(t, "sign", "--key", key.private, image, "--out", out).expect(t, 0)
	peer(t, "qemu-img", "compare", out, signed)
	inPlace(t, key, image).expect(t, 0)
	peer(t, "qemu-img", "compare", image, signed)
	imagetool(t, "verify", "--trust", key.public, image, "vg/root:/file").expect(t, 0)
}

// TestLVMKilled kills a run before each of its operations: what was cut short is undone, also where a block lies in two
// segments.
func TestLVMKilled(t *testing.T) {
	b := newLVMBed(t)
	image := newImage(t, bed.Dir(t), "disk.img", 12*mib)
	const half = 1025 // KiB, and blocks have 4
	d := b.build(t, image, []stretch{{0, 12 * mib}}, func(nodes []string) {
		b.lvm(t, "pvcreate", "--quiet", "--metadatasize", "512k", nodes[0])
		b.lvm(t, "vgcreate", "--quiet", "--physicalextentsize", "1k", "vg", nodes[0])
		b.create(t, "--name", "root", "--size", itoa(half)+"k", "vg")
		for size := 2 * half; size <= 8*half; size += half { // the groups of inodes lie over the seams, too
			b.create(t, "--name", "seam"+itoa(size), "--size", "1k", "vg")
			b.lvm(t, "lvextend", "--quiet", "--size", itoa(size)+"k", "vg/root")
		}
	})
	fs := mke2fs(t, bed.Dir(t), 8, "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-N", "2048")
	mounted(func(p *populator) {
		for i := range 5 {
			p.write(itoa(i), fmt.Append(nil, i))
		}
	})(t, fs)
	d.put(t, "root", fs)
	tr, counts := newTrial(t, memoryDir(t, "64m"), d.image), &tally{}
	for n := 1; killAt(t, tr.signing(), tr.dir(), n, operation.changes); n++ {
		tr.sweep(t)
		o := tr.outcome(t)
		counts.add(string(o))
		switch o {
		case pending:
			tr.recover(t)
		case complete:
			tr.reset(t)
		case neither:
			t.Fatalf("killed before change %d: the image is %s", n, neither)
		}
	}
	counts.expect(t, string(untouched), string(pending), string(complete))
}

// addVolumes gives the group volumes that LVM2 makes with a device mapper only, by restoring metadata that has them, and
// wants LVM2 to take them for what they are.
func (b *lvmBed) addVolumes(t *testing.T, text string, want ...string) {
	t.Helper()
	file := filepath.Join(b.dir, "vg")
	b.lvm(t, "vgcfgbackup", "--quiet", "--file", file, "vg")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	text = regexp.MustCompile("ID").ReplaceAllStringFunc(text, func(string) string {
		id++
		return fmt.Sprintf(`id = "%06d-0000-0000-0000-0000-0000-000000" flags = []`, id)
	})
	at := strings.LastIndex(strings.TrimSpace(string(old)), "\n}") // the end of the group
	at = strings.LastIndex(string(old[:at]), "}")                  // that of its volumes
	if err := os.WriteFile(file, append(append(old[:at:at], text...), old[at:]...), 0o644); err != nil {
		t.Fatal(err)
	}
	b.lvm(t, "vgcfgrestore", "--quiet", "--yes", "--force", "--file", file, "vg")
	kinds := strings.Join(strings.Fields(b.lvm(t, "lvs", "--noheadings", "--options", "lv_name,segtype")), " ")
	for _, w := range want {
		if !strings.Contains(kinds, w) {
			t.Errorf("LVM2 sees %s, want %s", kinds, w)
		}
	}
}

// Volumes as LVM2 writes them; ID stands for one.
const (
	visible = ` status = [ "READ", "WRITE", "VISIBLE" ] segment_count = 1 `
	hidden  = ` status = [ "READ", "WRITE" ] segment_count = 1 `
	linear  = ` type = "striped" stripe_count = 1 stripes = [ "pv1", `

	snapshotText = `
snap { ID` + visible + `segment1 { start_extent = 0 extent_count = 2` + linear + `0 ] } }
snapshot0 { ID` + hidden + `segment1 { start_extent = 0 extent_count = 8 type = "snapshot" chunk_size = 8 origin = "root" cow_store = "snap" } }
`
	thinText = `
pool { ID` + visible + `segment1 { start_extent = 0 extent_count = 2 type = "thin-pool" metadata = "pool_tmeta" pool = "pool_tdata"
	transaction_id = 1 chunk_size = 128 discards = "passdown" zero_new_blocks = 1 } }
thin { ID` + visible + `segment1 { start_extent = 0 extent_count = 25 type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1 } }
pool_tmeta { ID` + hidden + `segment1 { start_extent = 0 extent_count = 1` + linear + `0 ] } }
pool_tdata { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2` + linear + `1 ] } }
`
	raidText = `
data { ID` + visible + `segment1 { start_extent = 0 extent_count = 2 type = "raid1" device_count = 2 region_size = 1024
	raids = [ "data_rmeta_0", "data_rimage_0", "data_rmeta_1", "data_rimage_1" ] } }
data_rmeta_0 { ID` + hidden + `segment1 { start_extent = 0 extent_count = 1` + linear + `0 ] } }
data_rimage_0 { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2` + linear + `1 ] } }
data_rmeta_1 { ID` + hidden + `segment1 { start_extent = 0 extent_count = 1` + linear + `3 ] } }
data_rimage_1 { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2` + linear + `4 ] } }
`
	cacheText = `
data { ID` + visible + `segment1 { start_extent = 0 extent_count = 2 type = "cache" cache_pool = "fast" origin = "data_corig" } }
fast { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2 type = "cache-pool" data = "fast_cdata" metadata = "fast_cmeta"
	metadata_format = 2 chunk_size = 128 cache_mode = "writethrough" policy = "smq" } }
fast_cdata { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2` + linear + `0 ] } }
fast_cmeta { ID` + hidden + `segment1 { start_extent = 0 extent_count = 1` + linear + `2 ] } }
data_corig { ID` + hidden + `segment1 { start_extent = 0 extent_count = 2` + linear + `3 ] } }
`
)

// TestLVMRefused: what cannot be read as it lies, or may be in use elsewhere, is refused by name; what is left out is left
// out, and what is not said to be ends with 3.
func TestLVMRefused(t *testing.T) {
	key := defaultKey(t)
	const size = 90 * mib
	parts := []stretch{{mib, 45 * mib}, {47 * mib, 40 * mib}}
	whole := func(t *testing.T, make func(b *lvmBed, nodes []string)) *lvmDisk {
		t.Helper()
		b := newLVMBed(t)
		image := newImage(t, bed.Dir(t), "disk.img", size)
		peerInput(t, "label: gpt\nstart=2048, size=92160, type=lvm\nstart=96256, size=81920, type=lvm\n", "sfdisk", "--quiet", image)
		d := b.build(t, image, parts, func(nodes []string) {
			for _, node := range nodes {
				b.lvm(t, "pvcreate", "--quiet", node)
			}
			b.lvm(t, "vgcreate", append([]string{"--quiet", "vg"}, nodes...)...)
			b.create(t, "--name", "root", "--size", "32m", "vg", nodes[0])
			make(b, nodes)
		})
		d.put(t, "root", smallImage(t, bed.Dir(t)))
		return d
	}
	later := func(t *testing.T, change func(b *lvmBed)) string {
		t.Helper()
		d, b := whole(t, func(*lvmBed, []string) {}), newLVMBed(t)
		for _, p := range parts {
			b.attach(t, d.image, p)
		}
		change(b)
		b.detach()
		return d.image
	}
	for name, c := range map[string]struct {
		make func(t *testing.T) string
		want string
	}{
		"exported": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) { b.lvm(t, "vgexport", "--quiet", "vg") })
		}, "volume group vg: it is exported"},
		"system-id": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) { b.lvm(t, "vgchange", "--quiet", "--yes", "--systemid", "other", "vg") })
		}, `volume group vg: it is locked by a host: it belongs to the one with the system id "other"`},
		"partial": {func(t *testing.T) string {
			image := whole(t, func(*lvmBed, []string) {}).image
			poke(t, image, 47*mib, make([]byte, 4096))
			return image
		}, `volume group vg: it is partial: its physical volume pv1 .* is not in this image`},
		"cloned": {func(t *testing.T) string {
			d := whole(t, func(b *lvmBed, nodes []string) { b.lvm(t, "vgreduce", "--quiet", "vg", nodes[1]) })
			poke(t, d.image, 47*mib, peek(t, d.image, mib, mib))
			return d.image
		}, "2 physical volumes with the id"},
		"damaged": {func(t *testing.T) string {
			d := whole(t, func(b *lvmBed, nodes []string) { b.lvm(t, "vgreduce", "--quiet", "vg", nodes[1]) })
			poke(t, d.image, mib+4096+4, []byte{0})
			return d.image
		}, "damaged LVM2 metadata"},
		"striped": {func(t *testing.T) string {
			return whole(t, func(b *lvmBed, _ []string) { b.create(t, "--name", "data", "--stripes", "2", "--size", "8m", "vg") }).image
		}, `volume vg/data: it is striped`},
		"snapshot": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) {
				b.addVolumes(t, snapshotText, "root linear", "snap linear")
			})
		}, `volume vg/(root: it has snapshots|snap: it is a snapshot)`},
		"thin": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) { b.addVolumes(t, thinText, "pool thin-pool", "thin thin") })
		}, "volume vg/(pool|thin): it is (thin|a pool)"},
		"mirrored": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) { b.addVolumes(t, raidText, "data raid1") })
		}, "volume vg/data: it is mirrored"},
		"cached": {func(t *testing.T) string {
			return later(t, func(b *lvmBed) { b.addVolumes(t, cacheText, "data cache") })
		}, "volume vg/data: it is cached"},
	} {
		t.Run(name, func(t *testing.T) {
			image := c.make(t)
			expectRefused(t, image, c.want)
			r := imagetool(t, "verify", "--trust", key.public, image).expect(t, 1)
			if !regexp.MustCompile(c.want).MatchString(r.stderr) {
				t.Errorf("verify does not say %q:\n%v", c.want, r)
			}
			r = imagetool(t, "inspect", "--check", image).expect(t, 3)
			if !regexp.MustCompile(c.want).MatchString(r.stdout) {
				t.Errorf("inspect does not say %q:\n%v", c.want, r)
			}
			if name != "striped" {
				return
			}
			out := filepath.Join(bed.Dir(t), "out.img")
			imagetool(t, "sign", "--key", key.private, image, "--out", out, "--leave-out", "vg/data").expect(t, 0)
			imagetool(t, "verify", "--trust", key.public, out, "--leave-out", "vg/data").expect(t, 0)
		})
	}
	t.Run("left-out", func(t *testing.T) {
		d := whole(t, func(b *lvmBed, nodes []string) { b.create(t, "--name", "data", "--size", "36m", "vg", nodes[1]) })
		out := filepath.Join(bed.Dir(t), "out.img")
		poke(t, d.image, d.volumes["data"][0].start, []byte("XFSB"))
		for _, r := range []result{
			imagetool(t, "sign", "--key", key.private, d.image, "--out", out).expect(t, 3),
			imagetool(t, "verify", "--trust", key.public, out).expect(t, 3),
		} {
			if !strings.Contains(r.stderr, "volume vg/data (xfs)") || !strings.Contains(r.stderr, "--leave-out vg/data") {
				t.Errorf("volume vg/data is not named:\n%v", r)
			}
		}
		imagetool(t, "verify", "--trust", key.public, out, "--leave-out", "vg/data").expect(t, 0)
	})
}
