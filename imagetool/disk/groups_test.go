package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/internal/lvmtest"
)

// groupDisk is an MBR disk with two physical volumes of 4 MiB: root has three extents on both of
// them, and swap one. change may change what is said of the group.
func groupDisk(t testing.TB, change func(g *lvmtest.Group)) (path string, root, swap []block.Range) {
	t.Helper()
	g := lvmtest.Group{Members: []int{1, 2}, LVs: lvmtest.Volume("root", lvmtest.Visible, lvmtest.Linear(0, 2, "pv0", 0)+lvmtest.Linear(2, 1, "pv1", 1)) +
		lvmtest.Volume("swap", lvmtest.Visible, lvmtest.Linear(0, 1, "pv1", 0))}
	change(&g)
	path = mbrDisk(t)
	b := data(t, path)
	const first, second = 2048 * 512, 16384 * 512
	for i, start := range []int{first, second} {
		lvmtest.New(i+1, b[start:start+4*mib]).Commit(0, g.String(), 512)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	root = []block.Range{{Start: first + mib, End: first + 3*mib}, {Start: second + 2*mib, End: second + 3*mib}}
	return path, root, []block.Range{{Start: second + mib, End: second + 2*mib}}
}

func asIs(*lvmtest.Group) {}

// putExt4 puts a file system into joined ranges.
func putExt4(t testing.TB, path string, where []block.Range) []byte {
	t.Helper()
	fs := sparse(t, 3*mib)
	run(t, "", "mke2fs", "-q", "-F", "-t", "ext4", fs)
	b := data(t, fs)
	at := int64(0)
	for _, r := range where {
		poke(t, path, r.Start, b[at:at+r.End-r.Start])
		at += r.End - r.Start
	}
	return b
}

// TestGroups finds logical volumes and what they hold, and reads their bytes in order.
func TestGroups(t *testing.T) {
	path, root, swap := groupDisk(t, asIs)
	fs := putExt4(t, path, root)
	l := detect(t, path)
	var got []string
	for _, v := range l.Volumes {
		got = append(got, string(v.ID)+" "+v.FS+" "+v.Group)
	}
	if want := []string{"1 LVM2_member vg", "2 LVM2_member vg", "vg/root ext4 ", "vg/swap  "}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	v := l.Volumes[2]
	if v.Start != root[0].Start || v.Size != 3*mib || !slices.Equal(v.Segments, root) || l.Volumes[3].Start != swap[0].Start {
		t.Errorf("%+v", v)
	}
	b := make([]byte, v.Size)
	if err := block.ReadFull(v.On(device(t, path)), b, 0); err != nil || !bytes.Equal(b, fs) {
		t.Errorf("root has other bytes: %v", err)
	}
	if got := slices.Collect(v.Places()(2*mib-512, 1024)); !slices.Equal(got, []block.Range{{Start: root[0].End - 512, End: root[0].End}, {Start: root[1].Start, End: root[1].Start + 512}}) {
		t.Errorf("a block over the seam lies at %v", got)
	}
	for _, test := range []struct {
		id, other volume.ID
		want      bool
	}{
		{"vg/root", "1", true}, {"vg/root", "2", true}, {"vg/root", "vg/root", true}, {"vg/swap", "1", false}, {"vg/swap", "2", true}, {"1", "vg/root", false}, {"1", "2", false},
	} {
		if got := l.Within(test.id, test.other); got != test.want {
			t.Errorf("%s lies on %s: %v", test.id, test.other, got)
		}
	}
}

// TestGroupRefused: a group is refused with each of its physical volumes, and a volume alone. There is nothing beside it
// that could be signed, so there is no advice to leave it out.
func TestGroupRefused(t *testing.T) {
	path, _, _ := groupDisk(t, func(g *lvmtest.Group) { g.Status = `"READ", "EXPORTED"` })
	l := layout(t, path, 0)
	for _, id := range []volume.ID{AnyVolume, "1", "2", "vg/root"} {
		if r := l.Refused(id); r == nil || !strings.Contains(r.Reason, "volume group vg: it is exported") || strings.Contains(r.Hint, "--leave-out") {
			t.Errorf("%q: %+v", id, r)
		}
	}
	if l.Refused(AnyVolume, "1") == nil || l.Refused(AnyVolume, "1", "2") != nil || len(l.Volumes) != 2 {
		t.Error("both have to be left out")
	}

	path, _, _ = groupDisk(t, func(g *lvmtest.Group) {
		g.LVs += lvmtest.Volume("thin", lvmtest.Visible, "segment1 {\nstart_extent = 0\nextent_count = 2\ntype = \"thin\"\n}\n")
	})
	l = layout(t, path, 0)
	for id, want := range map[volume.ID]bool{AnyVolume: true, "vg/thin": true, "1": true, "2": true, "vg/root": false, "vg/swap": false} {
		if r := l.Refused(id); (r != nil) != want || r != nil && !strings.Contains(r.Reason, "volume vg/thin: it is thin") {
			t.Errorf("%q: %v", id, r)
		}
	}
	if l.Refused(AnyVolume, "vg/thin") != nil || l.Refused(AnyVolume, "2") != nil || !l.Has("vg/thin") || l.Has("vg/gone") {
		t.Error("it cannot be left out")
	}
}

// TestGroupDamaged: damage is a warning beside a good copy, and else a problem of the physical volume.
func TestGroupDamaged(t *testing.T) {
	path, _, _ := groupDisk(t, asIs)
	poke(t, path, 2048*512+4096+700, []byte("spoilt"))
	if l := detect(t, path); len(l.Volumes) != 4 || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "partition 1: the metadata area at byte 4096: the checksum of its text is wrong; another copy") {
		t.Errorf("one copy: %q", l.Warnings)
	}
	poke(t, path, 16384*512+4096+700, []byte("spoilt"))
	l := layout(t, path, 0)
	if r := l.Refused("2"); r == nil || !strings.Contains(r.Reason, "partition 2: damaged LVM2 metadata") || len(l.Volumes) != 2 {
		t.Errorf("both copies: %v", r)
	}
	poke(t, path, 2048*512+600, []byte("spoilt"))
	if l := layout(t, path, 0); l.Refused("1") != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "partition 1 is no physical volume") || l.Volumes[0].FS != "LVM2_member" {
		t.Errorf("the label: %q", l.Warnings)
	}
}

// TestNested: LVM2 does not look for physical volumes on logical ones.
func TestNested(t *testing.T) {
	path, root, _ := groupDisk(t, asIs)
	inner := lvmtest.New(3, make([]byte, 2*mib))
	inner.Commit(0, lvmtest.Group{Name: "inner", Number: 7, Members: []int{3}, LVs: lvmtest.Volume("lv", lvmtest.Visible, lvmtest.Linear(0, 1, "pv0", 0))}.String(), 512)
	poke(t, path, root[0].Start, inner.Bytes)
	if l := detect(t, path); len(l.Volumes) != 4 || l.Volumes[2].FS != "LVM2_member" || l.Volumes[2].Group != "" {
		t.Errorf("%+v", l.Volumes)
	}
}

// TestInertVolumes: a logical volume has no type, so what it holds has to say that nothing can be executed.
func TestInertVolumes(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, path string, at int64)
		want string
	}{
		"zeros":    {func(*testing.T, string, int64) {}, "empty"},
		"swap":     {mkswapAt, "swap"},
		"anything": {func(t *testing.T, path string, at int64) { poke(t, path, at+5000, []byte("x")) }, ""},
		"ext4":     {func(t *testing.T, path string, at int64) { ext4At(t, path, at, mib) }, ""},
		"code before swap": {func(t *testing.T, path string, at int64) {
			mkswapAt(t, path, at)
			poke(t, path, at+3, []byte("code"))
		}, ""},
		"something else in the page": {func(t *testing.T, path string, at int64) {
			mkswapAt(t, path, at)
			poke(t, path, at+3000, []byte("x"))
		}, ""},
		"larger than the volume": {func(t *testing.T, path string, at int64) {
			mkswapAt(t, path, at)
			poke(t, path, at+1028, binary.LittleEndian.AppendUint32(nil, mib/4096))
		}, ""},
		"swap of later": {func(t *testing.T, path string, at int64) {
			mkswapAt(t, path, at)
			poke(t, path, at+1024, []byte{2})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path, _, swap := groupDisk(t, asIs)
			test.make(t, path, swap[0].Start)
			l := layout(t, path, 0)
			v := l.Volumes[3]
			if got, err := v.Inert(context.Background(), device(t, path)); v.ID != "vg/swap" || err != nil || got != test.want {
				t.Errorf("%v: %q, %v, want %q", v, got, err, test.want)
			}
		})
	}
}

func mkswapAt(t *testing.T, path string, at int64) {
	t.Helper()
	pages := sparse(t, mib)
	run(t, "", "mkswap", pages)
	poke(t, path, at, data(t, pages))
}
