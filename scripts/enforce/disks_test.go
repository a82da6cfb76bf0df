package enforce

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"

	"golang.org/x/sys/unix"
)

// TestExchangedDisk has root leave the system disk, take it from its driver, and give its name and number to another disk, on
// which a program lies that is signed like those of the system: it must not be executed, since nobody can say what else will
// lie on that disk tomorrow. Without an enforcer it runs.
func TestExchangedDisk(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, c := range []struct {
		name, bus, system, other, number, prepare string
		options                                   options
	}{
		{"second virtio disk", "virtio", "vda", "vdb", systemDisk, "true", options{}},
		{"scsi_debug", "scsi", "sda", "sdb", "8:0",
			"modprobe scsi_debug dev_size_mb=64 && udevadm settle && mke2fs -q -t ext4 /dev/sdb", options{scsi: true}},
	} {
		c.options.readonly = true
		exchange := func(v *vm) (string, int) {
			v.expect(0, c.prepare+" && mount /dev/"+c.other+" /data && probe copy /usr/local/bin/probe /data/probe && umount /data")
			v.send("probe exchange-disk " + strings.Join([]string{c.bus, c.system, c.other, c.number}, " "))
			return v.result()
		}
		t.Run(c.name+", unguarded", func(t *testing.T) {
			t.Parallel()
			o := c.options
			o.guest = g
			if c.bus == "virtio" {
				o.data = makeData(t, bed.Dir(t))
			}
			if out, code := exchange(boot(t, o)); code != 0 || out != "it ran" {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gd, o := newGuard(t, g, "6.1"), c.options
			if c.bus == "virtio" {
				o.data = makeData(t, gd.dir)
			}
			v, e := bootGuarded(t, gd, o, "--device", c.number)
			if out, code := exchange(v); unix.Errno(code) != unix.EACCES || out != "executing probe on "+c.number {
				v.fatal("error %d, want EACCES: %s", code, out)
			}
			r, _ := e.await(0, "a denial", func(r record) bool { return r.Path == "/mnt/probe" && r.Verdict == "deny" })
			if !strings.Contains(r.Reason, "another disk") {
				t.Errorf("denied since: %s", r.Reason)
			}
		})
	}
}

// makeData makes an empty disk.
func makeData(t *testing.T, dir string) string {
	t.Helper()
	data := filepath.Join(dir, "data.img")
	_, err := bed.Output(bed.Peer("mke2fs", "-q", "-t", "ext4", data, "600M"))
	must(t, err)
	return data
}

// TestWritableDisk boots with a system disk that the guest can write to. That freezes it before anything of the disk runs;
// when it is accepted, root can do what nobody is told of.
func TestWritableDisk(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		v, e := bootGuarded(t, newGuard(t, g, "6.1"), options{strict: true, noWait: true}, "--device", systemDisk)
		e.awaitExit(4)
		v.awaitFrozen()
		if said := e.log.String(); !strings.Contains(said, `can write to the system's disk "vda"`) || !strings.Contains(said, "--writable") {
			t.Errorf("the enforcer says: %s", said)
		}
		for _, r := range e.records() {
			if r.Verdict == "allow" && r.Reason != "file of the initramfs" {
				t.Errorf("before it was frozen: %+v", r)
			}
		}
	})
	t.Run("accepted", func(t *testing.T) {
		t.Parallel()
		const program = "/opt/t/program/good"
		v, e := bootGuarded(t, newGuard(t, g, "6.1"), options{}, "--device", systemDisk)
		v.expect(0, program+" once")
		before := len(e.records())
		// The last byte of the program is in its last block; it is changed there, and then read again.
		v.expect(0, `size=$(stat -c %s `+program+`) && block=$(debugfs -R "bmap `+program+` $(((size - 1) / 4096))" /dev/vda 2>/dev/null) &&
			printf X | dd of=/dev/vda bs=1 seek=$((block * 4096 + (size - 1) % 4096)) conv=notrunc status=none && sync && echo 1 >/proc/sys/vm/drop_caches`)
		if out := v.expect(0, "tail -c 1 "+program+" && "+program+" twice"); out != "Xtwice\n" {
			t.Errorf("%q", out)
		}
		for _, r := range e.records()[before:] {
			if r.Path == program {
				t.Errorf("the enforcer was asked: %+v", r)
			}
		}
	})
}
