package lvm

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A Scan puts together the groups of the devices that it has read.
type Scan struct {
	physical []*Physical
	parsed   map[[sha256.Size]byte]parsed // by the digest of a text: most have copies
	left     int64                        // how many bytes of text may still be read
}

type parsed struct {
	*metadata
	err error
}

// maxTexts bounds the texts of all devices of an image.
const maxTexts = 8 * maxText

// A Physical is a device with a valid label: a physical volume.
type Physical struct {
	Damage []error // what is wrong with its metadata
	dev    block.Device
	label  *label
	copies []*metadata
}

// NewScan begins with no device.
func NewScan() *Scan { return &Scan{parsed: map[[sha256.Size]byte]parsed{}, left: maxTexts} }

// Read reads the label and the metadata of a device. If it is no physical volume, the
// error is a *DamagedError; any other is of reading.
func (s *Scan) Read(dev block.Device) (*Physical, error) {
	l, err := readLabel(dev)
	if err != nil {
		return nil, err
	}
	p := &Physical{dev: dev, label: l}
	for _, a := range l.areas {
		m, err := s.copyIn(dev, a)
		if damaged, ok := errors.AsType[*DamagedError](err); ok {
			p.Damage = append(p.Damage, damaged.Err)
		} else if err != nil {
			return nil, err
		} else if m != nil {
			p.copies = append(p.copies, m)
		}
	}
	s.physical = append(s.physical, p)
	return p, nil
}

// copyIn reads the copy of the metadata in an area; nil if there is none.
func (s *Scan) copyIn(dev block.Device, a stretch) (*metadata, error) {
	if s.left < maxText {
		return nil, &DamagedError{fmt.Errorf("the metadata area at byte %d: the image has more than %d bytes of metadata before it", a.start, maxTexts-maxText)}
	}
	text, err := readArea(dev, a)
	if text == nil || err != nil {
		return nil, err
	}
	s.left -= int64(len(text))
	digest := sha256.Sum256(text)
	known, ok := s.parsed[digest]
	if !ok {
		known.metadata, known.err = parseGroup(text)
		s.parsed[digest] = known
	}
	if known.err != nil {
		return nil, &DamagedError{fmt.Errorf("the metadata area at byte %d: %w", a.start, known.err)}
	}
	return known.metadata, nil
}

// A Group is a volume group, as its newest metadata has it.
type Group struct {
	Name     string
	Members  []*Physical // those of its physical volumes that are there
	Volumes  []Volume    // empty if the group is refused
	Refused  *RefusedError
	Warnings []string // what is not as it should be, and does no harm

	metadata *metadata
}

// A Volume is a logical volume.
type Volume struct {
	Name     string
	Refused  *RefusedError
	Segments []Segment // in their order; none if it is refused
}

// A Segment is bytes of a physical volume.
type Segment struct {
	On    *Physical
	Start int64
	Size  int64
}

// Groups puts together what was read.
func (s *Scan) Groups() []*Group {
	var groups []*Group
	byID := map[string]*Group{}
	for _, p := range s.physical {
		for _, m := range p.copies {
			g := byID[m.id]
			if g == nil {
				g = &Group{Name: m.name, metadata: m}
				byID[m.id], groups = g, append(groups, g)
			}
			g.consider(m, p)
		}
	}
	s.findMembers(groups)
	refuseTwins(groups)
	for _, g := range groups {
		if g.Refused == nil {
			g.lay()
		}
	}
	return groups
}

// consider takes the newer copy, as _vg_read does.
func (g *Group) consider(m *metadata, on *Physical) {
	old := g.metadata
	switch {
	case m.seqno == old.seqno && !reflect.DeepEqual(m, old):
		// Needed: one reader takes the one copy, another the other.
		g.Refused = refuse("there are two different copies of its metadata, both with the sequence number %d", m.seqno)
	case m.seqno < old.seqno:
		g.warn("%s has an old copy of the metadata of volume group %s (%d, and %d counts)", on.dev.Name(), g.Name, m.seqno, old.seqno)
	case m.seqno > old.seqno:
		g.warn("there are old copies of the metadata of volume group %s (%d, and %d counts)", g.Name, old.seqno, m.seqno)
		g.metadata, g.Name, g.Refused = m, m.name, nil
	}
}

func (g *Group) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(g.Warnings, text) {
		g.Warnings = append(g.Warnings, text)
	}
}

// findMembers looks for the physical volumes of each group by their ids.
func (s *Scan) findMembers(groups []*Group) {
	byID := map[string][]*Physical{}
	for _, p := range s.physical {
		byID[p.label.id] = append(byID[p.label.id], p)
	}
	for _, g := range groups {
		if g.Refused == nil {
			g.Refused = g.metadata.refused
		}
		for _, m := range g.metadata.members {
			found := byID[m.id]
			g.Members = append(g.Members, found...)
			switch {
			case g.Refused != nil:
			case len(found) == 0:
				// Needed: the rest of it may have newer metadata.
				g.Refused = refuse("it is partial: its physical volume %s (%s) is not in this image", m.key, dashed(m.id))
			case len(found) > 1:
				// Needed: a guest may take either.
				g.Refused = refuse("there are %d physical volumes with the id %s", len(found), dashed(m.id))
			case m.missing:
				// Needed: LVM2 does not use what lies on it.
				g.Refused = refuse("it is partial: its physical volume %s (%s) was missing once", m.key, dashed(m.id))
			}
		}
	}
}

// dashed is an id as people know it.
func dashed(id string) string {
	text := id[:6]
	for at := 6; at < 26; at += 4 {
		text += "-" + id[at:at+4]
	}
	return text + "-" + id[26:]
}

// refuseTwins refuses groups of one name, and those that have a physical volume in common.
func refuseTwins(groups []*Group) {
	names, members := map[string]*Group{}, map[*Physical]*Group{}
	for _, g := range groups {
		if len(g.Members) == 0 {
			continue // what has its metadata does not belong to it any more
		}
		if twin := names[g.Name]; twin != nil {
			for _, x := range []*Group{g, twin} {
				// Needed: the name of a volume would mean both.
				x.Refused = refuse("there are several volume groups of this name")
			}
		}
		names[g.Name] = g
		for _, p := range g.Members {
			if twin := members[p]; twin != nil && twin != g {
				for _, x := range []*Group{g, twin} {
					// Needed: both would have the same extents.
					x.Refused = refuse("volume groups %s and %s have a physical volume in common", twin.Name, g.Name)
				}
			}
			members[p] = g
		}
	}
}

// lay finds out where the volumes lie.
func (g *Group) lay() {
	if g.Refused = g.overlap(); g.Refused != nil {
		return
	}
	for _, l := range g.metadata.volumes {
		v := Volume{Name: l.name, Refused: l.refused}
		if v.Refused == nil {
			v.Segments, v.Refused = g.segments(l)
		}
		g.Volumes = append(g.Volumes, v)
	}
}

// overlap refuses a group as LVM2 does, of which an extent belongs to two volumes.
func (g *Group) overlap() *RefusedError {
	taken := slices.SortedFunc(slices.Values(g.metadata.taken), func(a, b span) int {
		return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.at, b.at))
	})
	for i := 1; i < len(taken); i++ {
		if a, b := taken[i-1], taken[i]; a.member == b.member && b.at < a.at+a.count {
			// Needed: writing to the one would change the other.
			return refuse("its volumes %s and %s overlap", a.volume, b.volume)
		}
	}
	return nil
}

// segments are where a linear volume lies.
func (g *Group) segments(l logical) (list []Segment, refused *RefusedError) {
	extent := g.metadata.extentSize * sectorSize
	for _, at := range l.pieces {
		m, p := g.metadata.members[at.member], g.Members[at.member]
		if m.start > p.dev.Size()/sectorSize || at.at+at.count > min(m.extent, (p.dev.Size()-m.start*sectorSize)/extent) {
			// Needed: some of it is not there.
			return nil, refuse("it reaches beyond the end of %s", p.dev.Name())
		}
		s := Segment{p, m.start*sectorSize + at.at*extent, at.count * extent}
		if p.reserved(s) {
			// Needed: writing to it would change what makes it a volume.
			return nil, refuse("it lies over the metadata of %s", p.dev.Name())
		}
		if n := len(list); n > 0 && list[n-1].On == p && list[n-1].Start+list[n-1].Size == s.Start {
			list[n-1].Size += s.Size
			continue
		}
		list = append(list, s)
	}
	return list, nil
}

// reserved reports whether a segment lies over what is no data.
func (p *Physical) reserved(s Segment) bool {
	own := append([]stretch{{p.label.at, sectorSize}}, p.label.areas...)
	return slices.ContainsFunc(append(own, p.label.boot...), func(r stretch) bool {
		return s.Start < r.end() && r.start < s.Start+s.Size
	})
}
