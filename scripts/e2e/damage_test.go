package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestRandomDamage flips single bits anywhere in images without checksums, where only the checks of structure can help.
// Whatever the bit means, the run ends soon, with a message or a result; and what e2fsck called clean before signing it
// calls clean after it.
func TestRandomDamage(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "losetup", "openssl")
	for name, features := range map[string]string{
		"extents":    "^metadata_csum,^uninit_bg",
		"block-maps": "^metadata_csum,^uninit_bg,^extent,^64bit,inline_data",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := bed.Dir(t)
			image := refused{args: refusedArgs + " -O " + features, spoil: asMade}.image(t, dir)
			fsck(t, image)
			good, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			var used []int
			for i, b := range good {
				if b != 0 {
					used = append(used, i)
				}
			}
			rnd := newRand(11)
			for range 60 {
				damage(t, dir, image, good, used[rnd.Intn(len(used))], 1<<rnd.Intn(8)) // mostly folders and inodes
				damage(t, dir, image, good, 1024+rnd.Intn(1024), 1<<rnd.Intn(8))       // the superblock
			}
		})
	}
}

// damage flips one bit, signs, and puts the bit back.
func damage(t *testing.T, dir, image string, good []byte, at int, bit byte) {
	t.Helper()
	poke(t, image, int64(at), []byte{good[at] ^ bit})
	defer poke(t, image, int64(at), good[at:at+1])
	_, fsckErr := try("e2fsck", "-fn", image)
	out := filepath.Join(dir, "out.img")
	defer os.Remove(out)

	cmd := bed.AsNobody("imagetool", "sign", "--key", defaultKey(t).private, image, "--out", out)
	watchdog := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	r := finish(t, cmd)
	watchdog.Stop()
	switch _, err := os.Stat(out); {
	case r.code == 0 && fsckErr == nil:
		if said, err := try("e2fsck", "-fn", out); err != nil {
			t.Errorf("byte %#x, bit %#x: e2fsck found the image clean, but not when it was signed:\n%s", at, bit, bed.Clip(said))
		}
	case r.code == 1 && (!strings.HasPrefix(r.stderr, "error: ") || !errors.Is(err, os.ErrNotExist)), r.code != 0 && r.code != 1:
		t.Errorf("byte %#x, bit %#x: no clean refusal:\n%v", at, bit, r)
	}
}
