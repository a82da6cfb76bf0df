package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

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
