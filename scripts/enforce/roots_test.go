package enforce

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// dmDisk is the first device of device mapper, as the guest's kernel numbers it.
const dmDisk = "253:0"

func pinned(disk string) []string { return []string{"--device", disk} }

// anywhere asks nothing of the disk.
var anywhere = []string{"--writable"}

// TestRoots boots a guest whose root lies on this or that, read-only on the host: with --device it runs guarded, or its first
// program is not executed. Where files of every disk count, it runs anyway.
func TestRoots(t *testing.T) {
	t.Parallel()
	needFileSystems(t)
	l := theLean(t)
	for _, c := range []struct {
		name, kind     string
		args           []string
		denied, frozen string // the reason why process 1 is not executed, or why the guest is frozen
	}{
		{"ext4", "ext4", pinned(systemDisk), "", ""},
		{"ext4 on a partition", "partition", pinned("254:1"), "", ""},
		{"XFS", "xfs", pinned(systemDisk), "", ""},
		{"squashfs", "squashfs", pinned(systemDisk), "", ""},
		{"EROFS", "erofs", pinned(systemDisk), "", ""},
		{"btrfs", "btrfs", pinned(systemDisk), "without a disk of its own", ""},
		{"btrfs, any disk", "btrfs", nil, "", "without a disk of its own"},
		{"dm-verity", "verity", pinned(dmDisk), "", `"dm-0", which does not come from the hypervisor`},
		{"dm-verity, the disk below", "verity", pinned(systemDisk), "on device " + dmDisk, ""},
		{"LVM", "linear", pinned(dmDisk), "", `"dm-0", which does not come from the hypervisor`},
		{"overlay", "overlay", pinned(systemDisk), "without a disk of its own", ""},
		{"btrfs, anywhere", "btrfs", anywhere, "", ""},
		{"dm-verity, anywhere", "verity", anywhere, "", ""},
		{"overlay, anywhere", "overlay", anywhere, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, l.guest(t, bed.Dir(t), l.kernel), "6.1")
			disk, table := l.image(t, gd.dir, c.kind, "/dev/vda")
			o := options{readonly: true, disk: disk, noWait: true, cmdline: l.words(c.kind) + " kind=" + c.kind}
			if table != "" {
				o.cmdline = fmt.Sprintf("%s kind=dm table=%q", l.words(c.kind), table)
			}
			v, e := bootGuarded(t, gd, o, c.args...)
			switch {
			case c.frozen != "":
				e.awaitExit(4)
				v.awaitFrozen()
				if said := e.log.String(); !strings.Contains(said, c.frozen) {
					t.Errorf("the enforcer does not say %q:\n%s", c.frozen, said)
				}
			case c.denied != "":
				e.awaitExit(0) // without process 1 the kernel panics, and QEMU ends
				if d := denials(e.records()); len(d) == 0 || !strings.Contains(d[0], "BPRM_CHECK") || !strings.Contains(d[0], c.denied) {
					t.Errorf("denied: %q, want process 1 to be, since it is %q", d, c.denied)
				}
			default:
				v.awaitReady()
				expectNoDenial(t, e)
				v.expectLean(e, "/opt", true, "")
			}
			for _, r := range e.records() {
				if (c.frozen != "" || c.denied != "") && r.Verdict == "allow" && r.Reason != "of the initramfs" {
					t.Errorf("before that: %+v", r)
				}
			}
		})
	}
}

// TestSecondDisks has one guest, whose root lies on the pinned disk, execute programs from read-only disks with this or that on them,
// from overlays, and from where containers have their roots.
func TestSecondDisks(t *testing.T) {
	t.Parallel()
	needFileSystems(t)
	l := theLean(t)
	gd := newGuard(t, l.guest(t, bed.Dir(t), l.kernel), "6.1")
	kinds := []string{"ext4", "xfs", "btrfs", "squashfs", "erofs", "verity", "linear"}
	o := options{readonly: true, cmdline: l.words(append(kinds, "overlay")...) + " kind=ext4"}
	o.disk, _ = l.image(t, gd.dir, "ext4", "")
	tables := make(map[string]string)
	for i, kind := range kinds {
		disk, table := l.image(t, bed.Dir(t), kind, device(i))
		o.disks, tables[kind] = append(o.disks, disk), table
	}
	v, e := bootGuarded(t, gd, o, "--device", systemDisk)
	for i, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			v.t, e.v.t = t, t
			from, fs, reason := device(i), kind, fmt.Sprintf("on device 254:%d, only %s", 16*(i+1), systemDisk)
			if tables[kind] != "" {
				v.expect(0, fmt.Sprintf("dmsetup create %s --readonly --noudevsync --noudevrules --table '%s'", kind, tables[kind]))
				number := strings.TrimSpace(v.expect(0, "dmsetup info -c --noheadings -o minor "+kind))
				from, fs, reason = "/dev/dm-"+number, "ext4", "on device 253:"+number
			}
			if kind == "btrfs" {
				reason = "without a disk of its own"
			}
			at := "/mnt/" + kind
			v.expect(0, fmt.Sprintf("mkdir %s && mount -t %s -o ro %s %[1]s", at, fs, from))
			v.expectLean(e, at+"/opt", false, reason)
		})
	}
	for _, c := range []struct {
		name, prepare, enter, opt string
		allowed                   bool
		reason                    string
	}{
		{"overlay of the system disk", "mkdir /mnt/over && mount -t overlay -o lowerdir=/opt:/etc none /mnt/over", "", "/mnt/over", false, "without a disk of its own"},
		{"bind mount", "mkdir /mnt/bind && mount -o bind /opt /mnt/bind", "", "/mnt/bind", true, ""},
		// A container that shares the host's files, and one with layers.
		{"container on the system disk", "mkdir /mnt/c && mount -o bind / /mnt/c", "probe container /mnt/c", "/opt", true, ""},
		{"container on an overlay", "mkdir /mnt/l && mount -t overlay -o lowerdir=/:/mnt none /mnt/l", "probe container /mnt/l", "/opt", false, "without a disk of its own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.t, e.v.t = t, t
			v.expect(0, c.prepare)
			v.expectLeanIn(e, c.enter, c.opt, c.allowed, c.reason)
		})
	}
}

// device is the name of a second disk in the guest.
func device(i int) string { return "/dev/vd" + string(rune('b'+i)) }

// expectLean executes the programs in a folder; of them one counts, if the folder does.
func (v *vm) expectLean(e *enforcer, opt string, allowed bool, reason string) {
	v.t.Helper()
	v.expectLeanIn(e, "", opt, allowed, reason)
}

// expectLeanIn does so by a program that goes somewhere else first.
func (v *vm) expectLeanIn(e *enforcer, enter, opt string, allowed bool, reason string) {
	v.t.Helper()
	for _, name := range []string{"good", "changed", "unsigned"} {
		before := len(e.records())
		out, code := v.run(strings.TrimSpace(enter + " " + opt + "/" + name + " runs"))
		if allowed && name == "good" {
			if code != 0 || !strings.HasPrefix(out, "runs\n") { // probe adds a word
				v.t.Errorf("%s/%s: exit code %d: %s", opt, name, code, out)
			}
			continue
		}
		if code == 0 || !strings.Contains(out, "ermission denied") && !strings.Contains(out, "EACCES") {
			v.t.Errorf("%s/%s: exit code %d, want it to be denied: %s", opt, name, code, out)
		}
		r, _ := e.await(before, "denying "+name, func(r record) bool { return r.Verdict == "deny" && strings.HasSuffix(r.Path, "/"+name) })
		v.t.Logf("%s: %s", r.Path, r.Reason)
		if !allowed && !strings.Contains(r.Reason, reason) {
			v.t.Errorf("%s is denied since it is %q, want %q", r.Path, r.Reason, reason)
		}
	}
}

func needFileSystems(t *testing.T) {
	t.Helper()
	bed.Need(t, "mkfs.xfs", "mkfs.btrfs", "mksquashfs", "mkfs.erofs", "veritysetup", "dd", "sfdisk")
}

const (
	ext4Size = 64 << 20
	start    = 1 << 20 // of a partition or volume, as tools have it unless told otherwise
	sector   = 512
	block    = 4096
)

// image makes a disk with the lean root on it. Of what device mapper is needed for it gives the table, with the disk's name in the guest.
func (l *lean) image(t *testing.T, dir, kind, device string) (disk, table string) {
	t.Helper()
	disk = filepath.Join(dir, kind+".img")
	peer := func(name string, args ...string) string {
		out, err := bed.Output(bed.Peer(name, args...))
		must(t, err)
		return string(out)
	}
	// Blocks as large as those of dm-verity, which hands out no smaller ones.
	ext4 := func() {
		peer("mke2fs", "-q", "-t", "ext4", "-b", fmt.Sprint(block), "-d", l.root, disk, fmt.Sprint(ext4Size>>10)+"k")
	}
	switch kind {
	case "ext4", "overlay":
		ext4()
	case "xfs":
		l.fill(t, dir, disk, 320<<20, peer, "mkfs.xfs", "-q")
	case "btrfs":
		l.fill(t, dir, disk, 160<<20, peer, "mkfs.btrfs", "-q")
	case "squashfs":
		peer("mksquashfs", l.root, disk, "-quiet", "-no-progress", "-comp", "gzip")
	case "erofs":
		peer("mkfs.erofs", disk, l.root)
	case "verity":
		ext4()
		out := peer("veritysetup", "format", disk, disk, "--hash-offset", fmt.Sprint(ext4Size))
		field := func(name string) string {
			m := regexp.MustCompile(`(?m)^` + name + `:\s+([0-9a-f]+)$`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("veritysetup format does not say the %s:\n%s", name, out)
			}
			return m[1]
		}
		// The superblock of verity takes a block behind the data.
		table = fmt.Sprintf("0 %d verity 1 %s %[2]s %d %[3]d %[4]d %d sha256 %s %s", ext4Size/sector, device, block, ext4Size/block, ext4Size/block+1,
			field("Root hash"), field("Salt"))
	case "partition", "linear":
		ext4()
		peer("dd", "if="+disk, "of="+disk+".moved", "bs=1M", fmt.Sprint("seek=", start>>20), "conv=sparse", "status=none")
		must(t, os.Rename(disk+".moved", disk))
		if kind == "partition" {
			peer("sh", "-c", fmt.Sprintf("echo %d,,83 | sfdisk --quiet --label dos %s", start/sector, disk))
			break
		}
		table = fmt.Sprintf("0 %d linear %s %d", ext4Size/sector, device, start/sector)
	default:
		t.Fatalf("no such kind: %s", kind)
	}
	return disk, table
}

// fill makes a file system and copies the root to it: its tools cannot, or not with attributes.
func (l *lean) fill(t *testing.T, dir, disk string, size int64, peer func(name string, args ...string) string, mkfs ...string) {
	t.Helper()
	must(t, os.WriteFile(disk, nil, 0o644))
	must(t, os.Truncate(disk, size))
	peer(mkfs[0], append(mkfs[1:], disk)...)
	at := filepath.Join(dir, "at")
	must(t, os.Mkdir(at, 0o755))
	peer("mount", "-o", "loop", disk, at)
	peer("cp", "-a", l.root+"/.", at)
	peer("umount", at)
}
