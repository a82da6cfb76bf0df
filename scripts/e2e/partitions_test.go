package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestPartitions: every ext file system of a disk is signed, or only the one that is named; nothing else changes.
func TestPartitions(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "losetup", "sfdisk", "mkswap", "openssl", "evmctl")
	const mib = 2048 // sectors
	for name, table := range map[string]string{
		"gpt": "label: gpt\nstart=2048, size=%[1]d, type=linux\nstart=%[2]d, size=2048, type=swap\nstart=%[3]d, size=%[1]d, type=linux\n",
		"mbr": "label: dos\nstart=2048, size=%[1]d, type=83\nstart=%[2]d, size=2048, type=82\nstart=%[3]d, size=%[1]d, type=83\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir, k := bed.Dir(t), defaultKey(t)
			first, second := smallImage(t, bed.Dir(t)), smallImage(t, bed.Dir(t))
			const size, swap, secondStart = 32 * mib, 33 * mib, 36 * mib
			disk := newImage(t, dir, "disk.img", 72<<20)
			peerInput(t, fmt.Sprintf(table, size, swap, secondStart), "sfdisk", "--quiet", disk)
			for offset, fs := range map[int64]string{1: first, 36: second} {
				peer(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek="+itoa(int(offset)), "conv=notrunc,sparse", "status=none")
			}
			pages := newImage(t, dir, "swap.img", 1<<20) // nobody's business
			b := make([]byte, 1<<20)
			newRand(9).Read(b)
			poke(t, pages, 0, b)
			peer(t, "mkswap", pages)
			b = peek(t, pages, 0, 1<<20)
			poke(t, disk, swap*512, b)

			all, one := filepath.Join(dir, "all.img"), filepath.Join(dir, "one.img")
			imagetool(t, "sign", "--key", k.private, disk, "--out", all).expect(t, 0)
			imagetool(t, "sign", "--key", k.private, disk, "--out", one, "--partition", "3").expect(t, 0)
			before := [2]view{viewImage(t, disk, 1<<20), viewImage(t, disk, secondStart*512)}
			fsckAt(t, all, 1<<20)
			fsckAt(t, all, secondStart*512)
			expectSigned(t, k, before[0], viewImage(t, all, 1<<20))
			expectSigned(t, k, before[1], viewImage(t, all, secondStart*512))
			expectSigned(t, k, before[1], viewImage(t, one, secondStart*512))
			untouched := viewImage(t, one, 1<<20)
			compareViews(t, before[0], untouched, true)
			expectValues(t, untouched, func(path string) string { return before[0][path].Xattrs[imaName] })
			for _, image := range []string{all, one} {
				if string(peek(t, image, swap*512, 1<<20)) != string(b) {
					t.Error("bytes outside the file systems changed")
				}
				if string(peek(t, image, 0, 1<<20)) != string(peek(t, disk, 0, 1<<20)) {
					t.Error("the partition table changed")
				}
			}
			imagetool(t, "verify", "--trust", k.public, all).expect(t, 0)
			imagetool(t, "verify", "--trust", k.public, one).expect(t, 3)
			imagetool(t, "verify", "--trust", k.public, one, "--partition", "3").expect(t, 0)
		})
	}
}
