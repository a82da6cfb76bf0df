package lvm

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/lvmtest"
)

// small has extents that fit a small device.
func small(g lvmtest.Group) string {
	return strings.Replace(g.String(), "extent_size = 2048", "extent_size = 64", 1)
}

// FuzzGroup puts any text in an area, with the right checksums: there is no panic, and
// what is found is inside of the device, and nowhere twice.
func FuzzGroup(f *testing.F) {
	f.Add([]byte(small(whole())))
	f.Add([]byte(small(lvmtest.Group{Members: []int{1, 2}, Extra: `system_id = "x" tags = ["a", "b"]`})))
	f.Add([]byte("vg { a = [ 1, .5, \"x\\\"\" ] # comment\n b { c = -1 } }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > mib/2 {
			t.Skip()
		}
		m := newMemory(1, 2*mib)
		m.Commit(0, string(text), 512)
		_, groups := scan(t, m)
		for _, g := range groups {
			checkPlaces(t, g)
		}
	})
}

// FuzzDevice spoils what is not text.
func FuzzDevice(f *testing.F) {
	m := newMemory(1, 2*mib)
	m.Commit(0, small(whole()), 512)
	f.Add(m.Bytes[512:1024], m.Bytes[4096:4096+512])
	f.Fuzz(func(t *testing.T, label, header []byte) {
		m := newMemory(1, 2*mib)
		m.Commit(0, small(whole()), 512)
		copy(m.Bytes[512:1024], label)
		copy(m.Bytes[4096:4096+512], header)
		m.Seal()
		s := NewScan()
		if _, err := s.Read(m); err != nil {
			return
		}
		for _, g := range s.Groups() {
			checkPlaces(t, g)
		}
	})
}

func checkPlaces(t *testing.T, g *Group) {
	t.Helper()
	var all []Segment
	for _, v := range g.Volumes {
		if (v.Refused == nil) == (len(v.Segments) == 0) {
			t.Fatalf("%s: %v, %v", v.Name, v.Refused, v.Segments)
		}
		all = append(all, v.Segments...)
	}
	slices.SortFunc(all, func(a, b Segment) int { return int(a.Start - b.Start) })
	for i, s := range all {
		if s.Start < 0 || s.Size < 1 || s.Start+s.Size > s.On.dev.Size() || i > 0 && s.Start < all[i-1].Start+all[i-1].Size {
			t.Fatalf("%+v", all)
		}
	}
}
