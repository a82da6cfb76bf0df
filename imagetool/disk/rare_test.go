package disk

import (
	"os"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
)

// TestRareContents lets mkfs and its kin fill a partition. Nobody can take that for the
// code of a boot loader, whatever the type says and the first sector holds: the kernel
// mounts most of it.
func TestRareContents(t *testing.T) {
	for _, maker := range [][]string{
		{"mkfs.minix", "-1"}, {"mkfs.minix", "-1", "-n14"}, {"mkfs.minix", "-2"}, {"mkfs.minix", "-2", "-n14"}, {"mkfs.minix", "-3"},
		{"mkfs.jfs", "-q"}, {"mkfs.reiserfs", "-q", "-ff"}, {"mkfs.nilfs2", "-q", "-f"}, {"mkudffs"},
		{"make-bcache", "-B"}, {"make-bcache", "-C"},
	} {
		t.Run(strings.Join(maker, " "), func(t *testing.T) {
			path := sparse(t, 256*mib)
			if maker[0] == "mkfs.minix" {
				if err := os.Truncate(path, 32*mib); err != nil {
					t.Fatal(err)
				}
			}
			run(t, "", maker[0], append(maker[1:], path)...)
			want := strings.TrimSpace(run(t, "", "blkid", "--probe", "--output", "value", "--match-tag", "TYPE", path))
			if v := detect(t, path).Volumes; len(v) != 1 || v[0].FS != want {
				t.Errorf("found %+v, libblkid %q", v, want)
			}
			poke(t, path, 0, []byte("boot code"))
			for _, kind := range []string{typeBIOSBoot, typeReserved, typeSwap, typeESP} {
				dev := device(t, path)
				v := Volume{ID: volume.Partition(1), Size: dev.Size(), Type: kind, FS: want}
				if inert, err := v.Inert(t.Context(), dev); err != nil || inert != "" {
					t.Errorf("as %s: %q, %v", kind, inert, err)
				}
			}
		})
	}
}

// TestRareRemains: what these bytes may be worth, they keep no file system from being
// used in which they happen to stand.
func TestRareRemains(t *testing.T) {
	for _, m := range rareContents {
		path := sparse(t, 8*mib)
		poke(t, path, m.at, []byte(m.want))
		if v := detect(t, path).Volumes; len(v) != 1 || v[0].FS != m.name {
			t.Errorf("%s at %d: found %+v", m.name, m.at, v)
		}
		if m.at >= 1024 && m.at < 2048 {
			continue // where the superblock of ext4 lies
		}
		run(t, "", "mke2fs", "-q", "-F", "-t", "ext4", path)
		poke(t, path, m.at, []byte(m.want))
		if v := detect(t, path).Volumes; len(v) != 1 || v[0].FS != "ext4" {
			t.Errorf("ext4 with the bytes of %s: found %+v", m.name, v)
		}
	}
}
