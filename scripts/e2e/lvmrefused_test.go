package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

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
