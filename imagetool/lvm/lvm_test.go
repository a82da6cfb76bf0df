package lvm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/lvmtest"
)

// whole is a group of one member with a volume in two pieces.
func whole() lvmtest.Group {
	return lvmtest.Group{Members: []int{1}, LVs: lvmtest.Volume("root", lvmtest.Visible, lvmtest.Linear(0, 3, "pv0", 0)+lvmtest.Linear(3, 2, "pv0", 5)) +
		lvmtest.Volume("swap", lvmtest.Visible, lvmtest.Linear(0, 2, "pv0", 3))}
}

// TestRoundTrip writes random groups as LVM2 does, over several devices and at any place
// of the ring, and reads them.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		devices := make([]*memory, 1+rnd.IntN(3))
		free := make([][]int, len(devices)) // extents of each
		g := lvmtest.Group{}
		for i := range devices {
			devices[i] = newMemory(i+1, 16*mib)
			g.Members = append(g.Members, i+1)
			free[i] = rnd.Perm(14)
		}
		want := map[string][]Segment{}
		for v := range 1 + rnd.IntN(5) {
			name := fmt.Sprintf("v%d", v)
			text := ""
			for le := range 1 + rnd.IntN(4) {
				i := rnd.IntN(len(devices))
				if len(free[i]) == 0 {
					break
				}
				at := free[i][0]
				free[i] = free[i][1:]
				text += lvmtest.Linear(le, 1, fmt.Sprintf("pv%d", i), at)
				s := Segment{Start: int64(at+1) * mib, Size: mib}
				list := want[name]
				if n := len(list); n > 0 && list[n-1].Start+list[n-1].Size == s.Start && list[n-1].On.dev == devices[i] {
					list[n-1].Size += mib
				} else {
					want[name] = append(list, Segment{&Physical{dev: devices[i]}, s.Start, s.Size})
				}
			}
			if text != "" {
				g.LVs += lvmtest.Volume(name, lvmtest.Visible, text)
			}
		}
		for i, d := range devices {
			if i > 0 && rnd.IntN(2) == 0 {
				d.Areas = nil
				d.Label(1)
				continue
			}
			d.Commit(0, g.String(), sectorSize+rnd.Int64N(mib-4096-sectorSize))
		}
		_, groups := scan(t, devices...)
		if len(groups) != 1 || groups[0].Refused != nil || groups[0].Name != "vg" || len(groups[0].Volumes) != len(want) {
			t.Fatalf("seed %d: %+v", seed, groups)
		}
		for _, v := range groups[0].Volumes {
			same := slices.EqualFunc(v.Segments, want[v.Name], func(a, b Segment) bool {
				return a.On.dev == b.On.dev && a.Start == b.Start && a.Size == b.Size
			})
			if v.Refused != nil || !same {
				t.Errorf("seed %d: %s lies at %+v, want %+v", seed, v.Name, v.Segments, want[v.Name])
			}
		}
	}
}

// TestLabel: the first valid label counts, in each of the four sectors.
func TestLabel(t *testing.T) {
	for sector := range scanSectors {
		m := newMemory(1, 16*mib)
		clear(m.Bytes[:2048])
		m.Label(sector)
		if l, err := readLabel(m); err != nil || l.id != lvmtest.ID(1) || l.at != int64(sector)*sectorSize || len(l.areas) != 1 {
			t.Errorf("sector %d: %+v, %v", sector, l, err)
		}
	}
	for name, spoil := range map[string]func(*memory){
		"no label":    func(m *memory) { m.Bytes[512] = 'l' },
		"sector":      func(m *memory) { m.Bytes[520] = 2 },
		"checksum":    func(m *memory) { m.Bytes[600] ^= 1 },
		"type":        func(m *memory) { m.Bytes[512+31] = '2'; m.Seal() },
		"offset":      func(m *memory) { le.PutUint32(m.Bytes[512+20:], 480); m.Seal() },
		"area":        func(m *memory) { m.Areas[0].Size = 16 * mib; m.Label(1) },
		"area offset": func(m *memory) { m.Areas[0].Start = -1; m.Label(1) },
		"three areas": func(m *memory) { m.Areas = slices.Repeat(m.Areas, 3); m.Label(1) },
		"no end": func(m *memory) {
			for i := 512 + 72; i < 1024; i++ {
				m.Bytes[i] = 1
			}
			m.Seal()
		},
		"cut": func(m *memory) { m.Bytes = m.Bytes[:1000] },
	} {
		m := newMemory(1, 16*mib)
		spoil(m)
		l, err := readLabel(m)
		if _, ok := errors.AsType[*DamagedError](err); !ok {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

// TestArea: what is not valid in an area is damage, and what is to be ignored is nothing.
func TestArea(t *testing.T) {
	text := whole().String() + "\x00"
	for name, test := range map[string]struct {
		spoil func(m *memory)
		want  string // in the damage; "" if there is none
	}{
		"header":      {func(m *memory) { m.Bytes[4096+300]++ }, "checksum of its header"},
		"magic":       {func(m *memory) { m.Bytes[4096+4]++; m.Seal() }, "magic"},
		"version":     {func(m *memory) { m.Bytes[4096+20]++; m.Seal() }, "version"},
		"start":       {func(m *memory) { m.Bytes[4096+25]++; m.Seal() }, "says that it lies at"},
		"size":        {func(m *memory) { m.Bytes[4096+33]++; m.Seal() }, "by the label"},
		"text":        {func(m *memory) { m.Bytes[4096+600]++ }, "checksum of its text"},
		"behind":      {func(m *memory) { m.Header(0, lvmtest.Area{Start: mib, Size: 10}, 0, 0) }, "its text has"},
		"over header": {func(m *memory) { m.Header(0, lvmtest.Area{Start: 100, Size: 10}, 0, 0) }, "its text has"},
		"negative":    {func(m *memory) { m.Header(0, lvmtest.Area{Start: -1, Size: 10}, 0, 0) }, "its text has"},
		"no text":     {func(m *memory) { m.Header(0, lvmtest.Area{Start: 512, Size: 0}, 0, 0) }, "its text has"},
		"too long":    {func(m *memory) { m.Header(0, lvmtest.Area{Start: 512, Size: 1 << 40}, 0, 0) }, "its text has"},
		"not text":    {func(m *memory) { m.Commit(0, "vg { id = ", 512) }, "a value is missing"},
		"no contents": {func(m *memory) { m.Commit(0, "vg { }", 512) }, "its contents are"},
		"never used":  {func(m *memory) { m.Header(0, lvmtest.Area{}, 0, 0) }, ""},
		"ignored": {func(m *memory) {
			m.Header(0, lvmtest.Area{Start: sectorSize, Size: int64(len(text))}, lvmtest.Checksum([]byte(text)), ignoreText)
		}, ""},
		"no more area": {func(m *memory) { m.Areas = nil; m.Label(1) }, ""},
	} {
		m := newMemory(1, 16*mib)
		m.Commit(0, whole().String(), sectorSize)
		test.spoil(m)
		s := NewScan()
		p, err := s.Read(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(s.Groups()) != 0 {
			t.Errorf("%s: there is a group", name)
		}
		if damage := fmt.Sprint(p.Damage); (len(p.Damage) == 1) != (test.want != "") || !strings.Contains(damage, test.want) {
			t.Errorf("%s: %s, want %q", name, damage, test.want)
		}
	}
}

// TestBudget: an image with more metadata than anybody has is read as far as that.
func TestBudget(t *testing.T) {
	text := whole().String() + "#" + strings.Repeat(" ", maxText-8192)
	s, damaged := NewScan(), 0
	for n := range 12 {
		m := newMemory(n+1, 16*mib)
		m.Areas = []lvmtest.Area{{Start: 4096, Size: 8 * mib}}
		m.Label(1)
		m.Commit(0, text, sectorSize)
		p, err := s.Read(m)
		if err != nil {
			t.Fatal(err)
		}
		damaged += len(p.Damage)
	}
	if damaged == 0 || damaged == 12 {
		t.Errorf("%d of 12 texts were not read", damaged)
	}
}

// TestCopies: the newest valid copy counts, wherever it lies.
func TestCopies(t *testing.T) {
	older, newer := whole(), whole()
	older.Seqno, older.LVs = 4, lvmtest.Volume("old", lvmtest.Visible, lvmtest.Linear(0, 1, "pv0", 0))
	other := whole()
	other.LVs = older.LVs
	two := func(first, second lvmtest.Group) *memory {
		m := newMemory(1, 16*mib)
		m.Areas = append(m.Areas, lvmtest.Area{Start: 15 * mib, Size: mib}) // --metadatacopies 2
		m.Label(1)
		m.Commit(0, first.String(), 512)
		m.Commit(1, second.String(), 512)
		return m
	}
	names := func(g *Group) (list []string) {
		for _, v := range g.Volumes {
			list = append(list, v.Name)
		}
		return list
	}
	for _, m := range []*memory{two(newer, older), two(older, newer)} {
		_, groups := scan(t, m)
		if g := groups[0]; len(groups) != 1 || g.Refused != nil || !slices.Equal(names(g), []string{"root", "swap"}) || len(g.Warnings) != 1 {
			t.Errorf("%+v", g)
		}
	}
	damaged := two(newer, older)
	damaged.Bytes[4096+700]++
	if _, groups := scan(t, damaged); groups[0].Refused != nil || !slices.Equal(names(groups[0]), []string{"old"}) {
		t.Errorf("the newest is damaged: %+v", groups[0])
	}
	if _, groups := scan(t, two(newer, other)); groups[0].Refused == nil || !strings.Contains(groups[0].Refused.Reason, "two different copies") {
		t.Errorf("two copies of one number: %+v", groups[0])
	}
	if _, groups := scan(t, two(newer, newer)); groups[0].Refused != nil || len(groups[0].Warnings) > 0 {
		t.Errorf("two equal copies: %+v", groups[0])
	}
}

// TestGroupRefused has everything for which all of a group is refused.
func TestGroupRefused(t *testing.T) {
	pv := func(n int, flags string) string {
		return fmt.Sprintf("pv0 {\nid = %q\nstatus = [\"ALLOCATABLE\"]\nflags = [%s]\npe_start = 2048\npe_count = 14\n}\n", lvmtest.Dashed(lvmtest.ID(n)), flags)
	}
	for want, change := range map[string]func(g *lvmtest.Group){
		"exported": func(g *lvmtest.Group) { g.Status = `"RESIZEABLE", "READ", "WRITE", "EXPORTED"` },
		"it is partial: its physical volume pv1 (000000-0000-0000-0000-0000-0000-000009) is not": func(g *lvmtest.Group) { g.Members = []int{1, 9} },
		"was missing once":          func(g *lvmtest.Group) { g.PVs = pv(1, `"MISSING"`) },
		"it is partial":             func(g *lvmtest.Group) { g.Status = `"READ", "PARTIAL"` },
		`(lock type "sanlock")`:     func(g *lvmtest.Group) { g.Extra = `lock_type = "sanlock" lock_args = "1.0.0:lvmlock"` },
		"locked by a host: several": func(g *lvmtest.Group) { g.Status = `"READ", "WRITE", "CLUSTERED"` },
		`system id "node-1"`:        func(g *lvmtest.Group) { g.Extra = `system_id = "node-1"` },
		`its format is "lvm1"`:      func(g *lvmtest.Group) { g.Extra = "" }, // below
		"root and swap overlap":     func(g *lvmtest.Group) { g.LVs = strings.Replace(g.LVs, "\"pv0\", 3\n", "\"pv0\", 2\n", 1) },
	} {
		g := whole()
		change(&g)
		text := g.String()
		if strings.Contains(want, "lvm1") {
			text = strings.Replace(text, `"lvm2"`, `"lvm1"`, 1)
		}
		m := newMemory(1, 16*mib)
		m.Commit(0, text, 512)
		_, groups := scan(t, m)
		if len(groups) != 1 || groups[0].Refused == nil || !strings.Contains(groups[0].Refused.Reason, want) || len(groups[0].Volumes) > 0 {
			t.Errorf("%s: %+v", want, groups)
		}
	}
}

// TestTwins: what means two things is refused.
func TestTwins(t *testing.T) {
	one, two := newMemory(1, 16*mib), newMemory(2, 16*mib)
	one.Commit(0, lvmtest.Group{Number: 1, Members: []int{1}}.String(), 512)
	two.Commit(0, lvmtest.Group{Number: 2, Members: []int{2}}.String(), 512)
	want := func(reason string, groups []*Group, n int) {
		t.Helper()
		if len(groups) != n {
			t.Fatalf("%d groups", len(groups))
		}
		for _, g := range groups {
			if g.Refused == nil || !strings.Contains(g.Refused.Reason, reason) {
				t.Errorf("%s: %v, want %q", g.Name, g.Refused, reason)
			}
		}
	}
	_, groups := scan(t, one, two)
	want("several volume groups of this name", groups, 2)

	two.Commit(0, lvmtest.Group{Name: "other", Number: 2, Members: []int{2, 1}}.String(), 512)
	_, groups = scan(t, one, two)
	want("have a physical volume in common", groups, 2)

	twin := newMemory(1, 16*mib)
	twin.Commit(0, lvmtest.Group{Number: 1, Members: []int{1}}.String(), 512)
	_, groups = scan(t, one, twin)
	want("2 physical volumes with the id", groups, 1)
}

// TestVolumeRefused has each kind of volume that is not linear, as LVM2 writes it, beside
// one that is.
func TestVolumeRefused(t *testing.T) {
	const hidden = `"READ", "WRITE"`
	segment := func(kind, text string) string {
		return fmt.Sprintf("segment1 {\nstart_extent = 0\nextent_count = 2\ntype = %q\n%s\n}\n", kind, text)
	}
	for name, test := range map[string]struct {
		lvs  string
		want map[string]string
	}{
		"striped": {lvmtest.Volume("data", lvmtest.Visible, segment("striped", `stripe_count = 2 stripe_size = 128 stripes = [ "pv0", 8, "pv0", 9 ]`)),
			map[string]string{"data": `it is striped (its segments are of type "striped")`}},
		"raid1": {lvmtest.Volume("data", lvmtest.Visible, segment("raid1", `device_count = 2 raids = [ "data_m0", "data_i0", "data_m1", "data_i1" ]`)) +
			lvmtest.Volume("data_m0", hidden, lvmtest.Linear(0, 1, "pv0", 8)) + lvmtest.Volume("data_i0", hidden, lvmtest.Linear(0, 1, "pv0", 9)) +
			lvmtest.Volume("data_m1", hidden, lvmtest.Linear(0, 1, "pv0", 10)) + lvmtest.Volume("data_i1", hidden, lvmtest.Linear(0, 1, "pv0", 11)),
			map[string]string{"data": "it is mirrored"}},
		"raid5": {lvmtest.Volume("data", lvmtest.Visible, segment("raid5_ls", `device_count = 3`)), map[string]string{"data": "it is striped with parity"}},
		"mirror": {lvmtest.Volume("data", lvmtest.Visible, segment("mirror", `mirror_count = 2 mirrors = [ "data_i0", 0, "data_i1", 0 ]`)) +
			lvmtest.Volume("data_i0", hidden, lvmtest.Linear(0, 2, "pv0", 8)) + lvmtest.Volume("data_i1", hidden, lvmtest.Linear(0, 2, "pv0", 10)),
			map[string]string{"data": "it is mirrored"}},
		"thin": {lvmtest.Volume("pool", lvmtest.Visible, segment("thin-pool", `metadata = "pool_tmeta" pool = "pool_tdata" transaction_id = 1 chunk_size = 128`)) +
			lvmtest.Volume("thin", lvmtest.Visible, segment("thin", `thin_pool = "pool" transaction_id = 0 device_id = 1`)) +
			lvmtest.Volume("pool_tmeta", hidden, lvmtest.Linear(0, 1, "pv0", 8)) + lvmtest.Volume("pool_tdata", hidden, lvmtest.Linear(0, 2, "pv0", 9)),
			map[string]string{"thin": "it is thin", "pool": "a pool for thin volumes"}},
		"external origin": {lvmtest.Volume("thin", lvmtest.Visible, segment("thin", `thin_pool = "pool" external_origin = "base" device_id = 1`)) +
			lvmtest.Volume("base", lvmtest.Visible, lvmtest.Linear(0, 2, "pv0", 8)) + lvmtest.Volume("pool", hidden, segment("thin-pool", "")),
			map[string]string{"thin": "it is thin", "base": "thin volume thin begins as a copy of it"}},
		"cached": {lvmtest.Volume("data", lvmtest.Visible, segment("cache", `cache_pool = "fast" origin = "data_corig"`)) +
			lvmtest.Volume("fast", hidden, segment("cache-pool", `data = "fast_cdata" metadata = "fast_cmeta" cache_mode = "writethrough"`)) +
			lvmtest.Volume("fast_cdata", hidden, lvmtest.Linear(0, 1, "pv0", 8)) + lvmtest.Volume("fast_cmeta", hidden, lvmtest.Linear(0, 1, "pv0", 9)) +
			lvmtest.Volume("data_corig", hidden, lvmtest.Linear(0, 2, "pv0", 10)),
			map[string]string{"data": "it is cached"}},
		"writecache": {lvmtest.Volume("data", lvmtest.Visible, segment("writecache", `writecache = "fast" origin = "data_wcorig"`)) +
			lvmtest.Volume("data_wcorig", hidden, lvmtest.Linear(0, 2, "pv0", 10)) + lvmtest.Volume("fast", hidden, lvmtest.Linear(0, 1, "pv0", 8)),
			map[string]string{"data": "it is cached"}},
		"snapshot": {lvmtest.Volume("data", lvmtest.Visible, lvmtest.Linear(0, 2, "pv0", 8)) + lvmtest.Volume("snap", lvmtest.Visible, lvmtest.Linear(0, 1, "pv0", 10)) +
			lvmtest.Volume("snapshot0", hidden, segment("snapshot", `chunk_size = 8 origin = "data" cow_store = "snap"`)),
			map[string]string{"data": "it has snapshots", "snap": "it is a snapshot"}},
		"snapshot of something hidden": {lvmtest.Volume("data", hidden, lvmtest.Linear(0, 2, "pv0", 8)) + lvmtest.Volume("snap", lvmtest.Visible, lvmtest.Linear(0, 1, "pv0", 10)) +
			lvmtest.Volume("snapshot0", hidden, segment("snapshot", `chunk_size = 8 origin = "data" cow_store = "snap"`)),
			map[string]string{"data": "it has snapshots", "snap": "it is a snapshot"}},
		"snapshot that can be seen": {lvmtest.Volume("data", lvmtest.Visible, segment("snapshot", "")), map[string]string{"data": "it is a snapshot"}},
		"pvmove": {lvmtest.Volume("data", `"READ", "WRITE", "VISIBLE", "LOCKED"`, lvmtest.Linear(0, 2, "pvmove0", 0)) +
			lvmtest.Volume("pvmove0", `"READ", "WRITE", "PVMOVE", "LOCKED"`, segment("mirror", `mirror_count = 2 extents_moved = 0 mirrors = [ "pv0", 8, "pv0", 10 ]`)),
			map[string]string{"data": "its status is LOCKED"}},
		"stacked": {lvmtest.Volume("data", lvmtest.Visible, lvmtest.Linear(0, 2, "under", 0)) + lvmtest.Volume("under", hidden, lvmtest.Linear(0, 2, "pv0", 8)),
			map[string]string{"data": "made of other volumes"}},
		"a flag in the type": {lvmtest.Volume("data", lvmtest.Visible, segment("striped+NEW", `stripe_count = 1 stripes = [ "pv0", 8 ]`)), map[string]string{"data": `"striped+NEW"`}},
		"mixed":              {lvmtest.Volume("data", lvmtest.Visible, lvmtest.Linear(0, 1, "pv0", 8)+strings.Replace(strings.Replace(segment("error", ""), "segment1", "segment2", 1), "start_extent = 0", "start_extent = 1", 1)), map[string]string{"data": "not linear"}},
		"empty":              {lvmtest.Volume("data", lvmtest.Visible, ""), map[string]string{"data": "it has no extents"}},
		"beyond":             {lvmtest.Volume("data", lvmtest.Visible, lvmtest.Linear(0, 2, "pv0", 13)), map[string]string{"data": "reaches beyond the end"}},
		"far beyond":         {lvmtest.Volume("data", lvmtest.Visible, lvmtest.Linear(0, maxUint32, "pv0", maxUint32)), map[string]string{"data": "reaches beyond the end"}},
		// Nobody uses these: LVM2 would let one be seen.
		"hidden":      {lvmtest.Volume("data", hidden, lvmtest.Linear(0, 2, "pv0", 8)), map[string]string{"data": ""}},
		"hidden ring": {lvmtest.Volume("a", hidden, segment("cache", `origin = "b"`)) + lvmtest.Volume("b", hidden, segment("cache", `origin = "a"`)), map[string]string{"a": "cached", "b": "cached"}},
	} {
		g := whole()
		g.LVs += test.lvs
		m := newMemory(1, 16*mib)
		m.Commit(0, g.String(), 512)
		s, groups := scan(t, m)
		if len(groups) != 1 || groups[0].Refused != nil {
			t.Errorf("%s: %+v %v", name, groups, s.physical[0].Damage)
			continue
		}
		test.want["root"], test.want["swap"] = "", ""
		for _, v := range groups[0].Volumes {
			want, ok := test.want[v.Name]
			if !ok || (v.Refused == nil) != (want == "") || want != "" && !strings.Contains(v.Refused.Reason, want) || (v.Refused == nil) == (len(v.Segments) == 0) {
				t.Errorf("%s: %s: %v, want %q", name, v.Name, v.Refused, want)
			}
			delete(test.want, v.Name)
		}
		if len(test.want) > 0 {
			t.Errorf("%s: not found: %v", name, test.want)
		}
	}
}

// TestReserved: a volume over the label, over metadata or over a boot loader is refused.
func TestReserved(t *testing.T) {
	for name, spoil := range map[string]func(m *memory, text string) string{
		"label": func(_ *memory, text string) string {
			return strings.Replace(text, "pe_start = 2048", "pe_start = 1", 1)
		},
		"area": func(_ *memory, text string) string {
			return strings.Replace(text, "pe_start = 2048", "pe_start = 8", 1)
		},
		"second area": func(m *memory, text string) string {
			m.Areas = append(m.Areas, lvmtest.Area{Start: 7 * mib, Size: mib})
			m.Label(1)
			return text
		},
		"boot loader": func(m *memory, text string) string {
			m.Boot = []lvmtest.Area{{Start: 2 * mib, Size: 4096}}
			m.Label(1)
			return text
		},
	} {
		m := newMemory(1, 16*mib)
		m.Commit(0, spoil(m, whole().String()), 512)
		_, groups := scan(t, m)
		if len(groups) != 1 || groups[0].Refused != nil {
			t.Fatalf("%s: %+v", name, groups)
		}
		if r := groups[0].Volumes[0].Refused; r == nil || !strings.Contains(r.Reason, "lies over the metadata") {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestNotMetadata has what LVM2 does not take, and so is damage.
func TestNotMetadata(t *testing.T) {
	text := whole().String()
	if _, err := parseGroup([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := parseGroup([]byte(strings.Replace(text, "creation_time = 1", "creation_time = 99999999991", 1))); err != nil {
		t.Errorf("a time that is too large: %v", err)
	}
	for _, test := range []struct{ old, new string }{
		{`"Text Format Volume Group"`, `"Text"`},
		{"version = 1", "version = 2"},
		{"seqno = 5", "seqno = -5"},
		{"seqno = 5", `seqno = "5"`},
		{"seqno = 5", "seqno = 5\nseqno = 6"},
		{"seqno = 5", "seqno = 5.5"},
		{"seqno = 5", "seqno = 99999999999999999999"},
		{"extent_size = 2048", "extent_size = 0"},
		{"extent_size = 2048", "extent_size = 99999999999"},
		{"vg {", "v\u00e4g {"},
		{"vg {", "-vg {"},
		{"vg {", "vg"},
		{"vg {", "vg { other {} } more {"},
		{"root {", ".. {"},
		{`"RESIZEABLE"`, `"UNKNOWN"`},
		{`"RESIZEABLE"`, "1"},
		{"status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\n", ""},
		{"segment_count = 2", "segment_count = 3"},
		{"start_extent = 3", "start_extent = 4"},
		{"start_extent = 3", "start_extent = 2"},
		{"extent_count = 2", "extent_count = 0"},
		{"stripe_count = 1", "stripe_count = 2"},
		{"stripe_count = 1", "stripe_count = 0"},
		{"\"pv0\", 5", "\"pv0\", \"5\""},
		{"\"pv0\", 5", "\"pv7\", 5"},
		{"\"pv0\", 5", "\"pv0\" 5"},
		{"\"pv0\", 5", "\"pv0"},
		{`type = "striped"`, ""},
		{"physical_volumes", "volumes"},
		{"pe_start = 2048", ""},
		{lvmtest.Dashed(lvmtest.ID(1)), "short"},
		{lvmtest.Dashed(lvmtest.ID(1)), strings.Repeat("\u00e4", 16)},
		{"logical_volumes {", "logical_volumes { } other {{"},
	} {
		spoilt := strings.Replace(text, test.old, test.new, 1)
		if spoilt == text {
			t.Fatalf("there is no %q", test.old)
		}
		if m, err := parseGroup([]byte(spoilt)); err == nil {
			t.Errorf("%q for %q: %+v", test.new, test.old, m)
		}
	}
	deep := strings.Repeat("a {", 100) + strings.Repeat("}", 100)
	if _, err := parseText([]byte(deep)); err == nil {
		t.Error("sections may lie as deep as anybody likes")
	}
	many := "a = [" + strings.Repeat("1,", maxNodes) + "]"
	if _, err := parseText([]byte(many)); err == nil {
		t.Error("there may be as many values as anybody likes")
	}
}
