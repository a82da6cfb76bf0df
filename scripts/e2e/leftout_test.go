package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestLeftOut: a disk is green only if nothing on it that can be executed was left unsigned.
func TestLeftOut(t *testing.T) {
	bed.Need(t, "mke2fs", "sfdisk", "mkswap", "mkfs.fat", "mkfs.xfs", "openssl")
	k, dir := defaultKey(t), bed.Dir(t)
	fs := tinyImage(t, dir)
	const boot, other, size = 2048, 2048 + 65536, 400 << 20
	disk := func(t *testing.T, types, content string, maker ...string) string {
		t.Helper()
		dir := bed.Dir(t)
		disk := newImage(t, dir, "disk.img", size)
		peerInput(t, "label: gpt\nstart=2048, size=65536, type=linux\nstart=67584, size=655360, type="+types+"\nstart=722944, size=8192, type=linux\n",
			"sfdisk", "--quiet", disk)
		peer(t, "dd", "if="+fs, "of="+disk, "bs=512", "seek="+itoa(boot), "conv=notrunc,sparse", "status=none")
		part := newImage(t, dir, "part.img", 655360*512)
		if len(maker) > 0 {
			peer(t, maker[0], append(maker[1:], part)...)
		}
		poke(t, part, 1<<20, []byte(content))
		peer(t, "dd", "if="+part, "of="+disk, "bs=512", "seek="+itoa(other), "conv=notrunc,sparse", "status=none")
		return disk
	}
	const esp, swap = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	for name, c := range map[string]struct {
		disk string
		kind string // of partition 2, if it is left out
	}{
		"xfs":             {disk(t, "linux", "", "mkfs.xfs", "-q"), "xfs"},
		"unknown":         {disk(t, "linux", "something"), "unknown contents"},
		"luks":            {luks(t, disk(t, "linux", "something"), other*512), "crypto_LUKS"},
		"xfs-as-swap":     {disk(t, swap, "", "mkfs.xfs", "-q"), "xfs"},
		"fat-as-linux":    {disk(t, "linux", "", "mkfs.fat"), "vfat"},
		"swap":            {disk(t, swap, "pages", "mkswap"), ""},
		"esp":             {disk(t, esp, "", "mkfs.fat"), ""},
		"empty":           {disk(t, "linux", ""), ""},
		"unknown-as-swap": {disk(t, swap, "pages"), "unknown contents"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, want := bed.Dir(t), 0
			if c.kind != "" {
				want = 3
			}
			out := filepath.Join(dir, "out.img")
			expect := func(r result, code int) {
				t.Helper()
				r.expect(t, code)
				if named := strings.Contains(r.stderr, "partition 2 ("+c.kind+")"); named != (code == 3) {
					t.Errorf("partition 2 (%s) named: %v\n%v", c.kind, named, r)
				}
			}
			expect(imagetool(t, "sign", "--key", k.private, c.disk, "--out", out), want)
			expect(imagetool(t, "verify", "--trust", k.public, out), want)
			expect(imagetool(t, "verify", "--trust", k.public, out, "--partition", "1"), 0)
			expect(imagetool(t, "verify", "--trust", k.public, out, "--leave-out", "2"), 0)
			fsckAt(t, out, boot*512)
			if string(peek(t, out, other*512, 1<<21)) != string(peek(t, c.disk, other*512, 1<<21)) {
				t.Error("partition 2 was changed")
			}
		})
	}
}

// luks writes the magic of a LUKS header.
func luks(t *testing.T, disk string, at int64) string {
	t.Helper()
	poke(t, disk, at, []byte("LUKS\xba\xbe\x00\x02"))
	return disk
}
