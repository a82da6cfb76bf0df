package enforce

import (
	"strings"
	"testing"
)

// systemDisk is the first virtio disk, as the guest's kernel numbers it.
const systemDisk = "254:0"

// TestReadOnly enforces with the system disk read-only on the host and pinned: nothing from any other disk counts, however
// well it is signed.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	gd := newGuard(t, g, "6.1")
	o := options{readonly: true, data: makeData(t, gd.dir)}
	gd.prepare(t, &o)
	v, e := bootGuarded(t, gd, o, "--device", systemDisk)
	expectNoDenial(t, e)
	if out := v.expect(0, "stat -c %Hd:%Ld /"); strings.TrimSpace(out) != systemDisk {
		t.Fatalf("the root lies on %s", out)
	}
	v.expect(0, "mount /dev/vdb /data")
	for _, c := range []struct{ name, before, denied, reason string }{
		{"data disk", "probe copy /opt/t/program/good /data/good", "/data/good", "on device"},
		{"memory", "probe copy /opt/t/program/good /tmp/good", "/tmp/good", "without a disk"},
		{"loop device over a signed image", `cd /data && mkdir -p in at && probe copy /opt/t/program/good in/good &&
			mke2fs -q -t ext4 -d in image 8M && mount -o loop image at`, "/data/at/good", "on device"},
		{"loop device over the system disk", "mkdir /data/sys && mount -o loop,ro /dev/vda /data/sys", "/data/sys/opt/t/program/good", "on device"},
		{"FUSE", "cd /data && mkdir fuse && mke2fs -q -t ext2 -d in image2 8M && fuse2fs -o ro,allow_other image2 fuse", "/data/fuse/good", "unnoticed"},
		{"overlay of the system disk", `mkdir /data/up /data/work /data/over && mount -t overlay -o lowerdir=/opt/t/program,upperdir=/data/up,workdir=/data/work none /data/over &&
			echo more >>/data/over/good`, "/data/over/good", "without a disk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.t, e.v.t = t, t
			v.expect(0, c.before)
			before := len(e.records())
			v.expectDenied(c.denied)
			e.await(before, "a denial "+c.reason, func(r record) bool {
				return r.Verdict == "deny" && r.Path == c.denied && strings.Contains(r.Reason, c.reason)
			})
		})
	}
	t.Run("writing to the system disk", func(t *testing.T) {
		v.t = t
		if out := v.expect(1, "probe write-mapped /usr/lib/x86_64-linux-gnu/libutil.so.1"); !strings.Contains(out, "EROFS") {
			t.Error(out)
		}
		v.expect(1, "dd if=/dev/zero of=/dev/vda bs=4096 count=1 2>&1")
		v.expect(1, "blockdev --setrw /dev/vda && dd if=/dev/zero of=/dev/vda bs=4096 seek=100 count=1 oflag=direct 2>&1")
		v.run("mount -o remount,rw /")
		v.expect(1, "touch /usr/written")
	})
	t.Run("data disk unplugged", func(t *testing.T) {
		v.t = t
		v.expect(0, `echo data >/data/file && sync && umount -l /data/at /data/sys /data/fuse /data/over /data &&
			basename $(readlink /sys/block/vdb/device) >/tmp/device && cat /tmp/device >/sys/bus/virtio/drivers/virtio_blk/unbind && test ! -e /sys/block/vdb`)
		v.expect(0, "/opt/t/program/second-key")
		if out := v.expect(0, `cat /tmp/device >/sys/bus/virtio/drivers/virtio_blk/bind && mount /dev/$(ls /sys/bus/virtio/devices/$(cat /tmp/device)/block) /data &&
			cat /data/file`); out != "data\n" {
			t.Errorf("%q", out)
		}
	})
	v.t = t
	v.expect(0, "/opt/t/program/good")
	v.expectDenied("/opt/t/program/unsigned")
	v.send("echo c >/proc/sysrq-trigger") // a panic, after which QEMU ends
	e.awaitExit(0)
}
