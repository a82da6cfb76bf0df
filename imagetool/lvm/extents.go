package lvm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// A logical is a logical volume as the metadata has it.
type logical struct {
	name    string
	refused *RefusedError
	pieces  []piece // if it is not refused
}

// A piece is a segment: extents of one physical volume.
type piece struct {
	first  int64 // extent of the logical volume
	count  int64
	member int
	at     int64 // first extent on the member
}

// A part is a volume on the way to a logical: some belong to others.
type part struct {
	logical
	kind    string // of the first segment that is not linear; else empty
	visible bool
	uses    []use
}

// A use is a volume that a segment names.
type use struct {
	name, key string
}

// A volumeReader reads the logical volumes of a group.
type volumeReader struct {
	*metadata
	keys  map[string]int   // members, by how segments name them
	names map[string]*part // volumes
}

// read reads the volumes that can be seen, and those that are hidden without belonging to
// one that can be seen.
func (r *volumeReader) read(g *section) error {
	all := g.section("logical_volumes")
	if all == nil {
		return nil
	}
	parts := make([]*part, len(all.sections))
	r.names = map[string]*part{}
	for i, s := range all.sections {
		if err := volume.CheckName(s.name); err != nil {
			return err
		}
		parts[i] = &part{logical: logical{name: s.name}}
		r.names[s.name] = parts[i]
	}
	for i, s := range all.sections {
		if err := r.readPart(parts[i], s); err != nil {
			return fmt.Errorf("volume %s: %w", s.name, err)
		}
	}
	below := r.used(parts)
	for _, p := range parts {
		user := below[p]
		if !p.visible && (p.kind == "snapshot" || user != nil && user.kind != "snapshot") {
			continue
		}
		if user != nil && p.refused == nil {
			p.refused = user.refusal(p)
		}
		r.volumes = append(r.volumes, p.logical)
	}
	return nil
}

// A user is who uses a volume, and as what.
type user struct {
	*part
	key string
}

// used finds who uses a volume, of those that can be seen or belong to one that can. A
// snapshot has a hidden volume of its own, which joins two that can be seen.
func (r *volumeReader) used(parts []*part) map[*part]*user {
	by := map[*part]*user{}
	var queue []*part
	for _, p := range parts {
		if p.visible || p.kind == "snapshot" {
			queue = append(queue, p)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, u := range queue[0].uses {
			if p := r.names[u.name]; by[p] == nil && p != queue[0] {
				by[p] = &user{queue[0], u.key}
				queue = append(queue, p)
			}
		}
	}
	return by
}

// refusal is why a volume cannot be read alone that another one uses.
func (u *user) refusal(p *part) *RefusedError {
	switch u.key {
	case "origin":
		// Needed: what is written to it would change the snapshots, too, and the other way round.
		return refuse("it has snapshots (%s)", u.name)
	case "cow_store", "merging_store":
		// Needed: it has what differs from another volume, and no file system.
		return refuse("it is a snapshot")
	case "external_origin":
		// Needed: what is written to it would change the thin volume.
		return refuse("the thin volume %s begins as a copy of it", u.name)
	}
	// Needed: its bytes are those of the other one.
	return refuse("it is a part of %s", u.name)
}

// readPart reads one volume. What LVM2 reads and is no linear volume is refused.
func (r *volumeReader) readPart(p *part, s *section) error {
	flags, err := readFlags(s, volumeFlags)
	if err != nil {
		return err
	}
	p.visible = slices.Contains(flags, "VISIBLE")
	for _, flag := range []string{"LOCKED", "PVMOVE", "CACHE_VOL"} {
		if slices.Contains(flags, flag) && p.refused == nil {
			// Needed: some of its extents are being moved, or it is the cache of another volume.
			p.refused = refuse("its status is %s", flag)
		}
	}
	count, err := s.number("segment_count")
	if err != nil {
		return err
	}
	if count != int64(len(s.sections)) {
		return fmt.Errorf("it has %d segments, and counts %d", len(s.sections), count)
	}
	for _, seg := range s.sections {
		if err := r.readSegment(p, seg); err != nil {
			return err
		}
	}
	if err := p.checkGaps(); err != nil {
		return err
	}
	if len(p.pieces) == 0 && p.refused == nil {
		// Needed: there is nothing to read.
		p.refused = refuse("it has no extents")
	}
	return nil
}

// readSegment notes where the extents of a segment lie, and whom one needs that is not
// linear.
func (r *volumeReader) readSegment(p *part, s *section) error {
	first, err := s.number("start_extent")
	if err != nil {
		return err
	}
	count, err := s.number("extent_count")
	if err != nil {
		return err
	}
	if first > maxUint32 || count < 1 || count > maxUint32 {
		return fmt.Errorf("%s has %d extents from %d on", s.name, count, first)
	}
	kind, ok := s.text("type")
	if !ok {
		return fmt.Errorf("%s has no type", s.name)
	}
	at := piece{first: first, count: count}
	how := kindText(kind)
	if kind == "striped" || kind == "linear" { // one stripe is linear
		if how, err = r.readStripes(p, &at, s); err != nil {
			return err
		}
	}
	p.pieces = append(p.pieces, at)
	if how == "" {
		return nil
	}
	if p.kind == "" {
		p.kind = kind
	}
	if p.refused == nil {
		// Needed: what a guest sees is not what lies in the extents one after the other.
		p.refused = refuse("it is %s (its segments are of type %q), and only linear volumes are read", how, kind)
	}
	for _, v := range s.values {
		for _, i := range v.items {
			if i.kind == isText && r.names[i.text] != nil && !slices.Contains(ownKeys, v.key) {
				p.uses = append(p.uses, use{i.text, v.key})
			}
		}
	}
	return nil
}

// ownKeys have strings that name no volume.
var ownKeys = []string{"type", "tags", "device_id", "policy", "cache_mode", "cache_policy", "discards"}

// readStripes says where a linear segment lies. If it is not linear, it says how it is.
func (r *volumeReader) readStripes(p *part, at *piece, s *section) (how string, err error) {
	stripes, err := s.number("stripe_count")
	if err != nil {
		return "", err
	}
	list, _ := s.find("stripes")
	if stripes < 1 || int64(len(list.items)) != 2*stripes {
		return "", fmt.Errorf("%s has %d stripes and lists %d", s.name, stripes, len(list.items)/2)
	}
	if stripes > 1 {
		how = "striped"
	}
	for i := 0; i < len(list.items); i += 2 {
		name, offset := list.items[i], list.items[i+1]
		if name.kind != isText || offset.kind != isNumber || offset.number < 0 || offset.number > maxUint32 {
			return "", fmt.Errorf("%s has stripes that are not names and numbers", s.name)
		}
		member, ok := r.keys[name.text]
		switch {
		case ok:
			at.member, at.at = member, offset.number
			r.taken = append(r.taken, span{member, offset.number, at.count / stripes, p.name})
		case r.names[name.text] == nil:
			return "", fmt.Errorf("%s lies on %q, which is not there", s.name, name.text)
		case how == "":
			how = "made of other volumes"
		}
	}
	return how, nil
}

// checkGaps holds segments to what check_lv_segments does, and sorts them.
func (p *part) checkGaps() error {
	slices.SortFunc(p.pieces, func(a, b piece) int { return cmp.Compare(a.first, b.first) })
	next := int64(0)
	for _, at := range p.pieces {
		if at.first != next {
			return errors.New("its segments have gaps, or lie over each other")
		}
		next += at.count
	}
	if next > maxUint32 {
		return fmt.Errorf("it has %d extents", next)
	}
	return nil
}

// kindText is what people call a type of segments (lib/metadata/segtype.h).
func kindText(kind string) string {
	kind, _, _ = strings.Cut(kind, "+") // flags
	switch kind {
	case "striped", "raid0", "raid0_meta":
		return "striped"
	case "mirror", "raid1", "raid10", "raid10_near":
		return "mirrored"
	case "thin":
		return "thin"
	case "thin-pool":
		return "a pool for thin volumes"
	case "cache", "writecache":
		return "cached"
	case "cache-pool":
		return "a cache"
	case "snapshot":
		return "a snapshot"
	}
	if strings.HasPrefix(kind, "raid") {
		return "striped with parity"
	}
	return "not linear"
}
