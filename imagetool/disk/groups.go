package disk

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/lvm"
)

// lvmMember is what a physical volume of LVM2 is called, as by libblkid.
const lvmMember = "LVM2_member"

// lookGroups finds the logical volumes on the volumes that look like physical ones, and
// what they hold. LVM2 does not look for physical volumes on logical ones.
func (l *Layout) lookGroups(disk block.Device) error {
	scan, where := lvm.NewScan(), map[*lvm.Physical]volume.ID{}
	var physical []*lvm.Physical
	for _, v := range l.members {
		p, err := scan.Read(v.On(disk))
		if damaged, ok := errors.AsType[*lvm.DamagedError](err); ok {
			l.warn("%s is no physical volume, although it looks like one: %v", v.ID.Title(), damaged)
		} else if err != nil {
			return err
		} else {
			physical, where[p] = append(physical, p), v.ID
		}
	}
	for _, g := range scan.Groups() {
		if err := l.noteGroup(disk, g, where); err != nil {
			return fmt.Errorf("volume group %s: %w", g.Name, err)
		}
	}
	for _, p := range physical {
		l.noteDamage(where[p], p.Damage)
	}
	return nil
}

func (l *Layout) warn(format string, args ...any) {
	l.Warnings = append(l.Warnings, fmt.Sprintf(format, args...))
}

// noteGroup notes the volumes of a group, or why they are not used.
func (l *Layout) noteGroup(disk block.Device, g *lvm.Group, where map[*lvm.Physical]volume.ID) error {
	l.Warnings = append(l.Warnings, g.Warnings...)
	on := idsOf(g.Members, where)
	if g.Refused != nil {
		for _, id := range on {
			// Needed: as package lvm says there.
			l.problem(id, refuse(hintLeaveOut(on...), "volume group %s: %v", g.Name, g.Refused))
		}
		return nil
	}
	for i := range l.Volumes {
		if v := &l.Volumes[i]; slices.Contains(on, v.ID) {
			v.Group = g.Name
		}
	}
	for _, lv := range g.Volumes {
		v := Volume{ID: volume.Logical(g.Name, lv.Name)}
		l.lies[v.ID] = on
		if lv.Refused != nil {
			// Needed: as package lvm says there.
			l.problem(v.ID, refuse(hintLeaveOut(v.ID), "%s: %v", v.ID.Title(), lv.Refused))
			continue
		}
		l.place(&v, lv.Segments, where)
		if err := l.lookLogical(v, disk); err != nil {
			return fmt.Errorf("reading %s: %w", v.ID.Title(), err)
		}
	}
	return nil
}

// idsOf names physical volumes.
func idsOf(members []*lvm.Physical, where map[*lvm.Physical]volume.ID) (ids []volume.ID) {
	for _, p := range members {
		ids = append(ids, where[p])
	}
	return ids
}

// place tells where a logical volume lies on the disk, by where it lies on physical ones.
func (l *Layout) place(v *Volume, segments []lvm.Segment, where map[*lvm.Physical]volume.ID) {
	var on []volume.ID
	for _, s := range segments {
		id := where[s.On]
		if !slices.Contains(on, id) {
			on = append(on, id)
		}
		i := slices.IndexFunc(l.members, func(m Volume) bool { return m.ID == id })
		start := l.members[i].Start + s.Start
		v.Segments = append(v.Segments, block.Range{Start: start, End: start + s.Size})
		v.Size += s.Size
	}
	v.Start, l.lies[v.ID] = v.Segments[0].Start, on
}

func (l *Layout) lookLogical(v Volume, disk block.Device) error {
	in, err := newView(v.On(disk), v.Start)
	if err != nil {
		return err
	}
	kinds, err := in.found()
	if err != nil {
		return err
	}
	return l.look(v, in, kinds, 0)
}

// noteDamage notes what is wrong with the metadata on a physical volume. It is a warning
// where another copy has all of it.
func (l *Layout) noteDamage(id volume.ID, damage []error) {
	used := slices.ContainsFunc(l.Volumes, func(v Volume) bool { return v.ID == id && v.Group != "" })
	for _, d := range damage {
		if used {
			l.warn("%s: %v; another copy of the metadata counts", id.Title(), d)
			continue
		}
		// Needed: LVM2 finds no volume group by it.
		l.problem(id, refuse(hintLeaveOut(id), "%s: damaged LVM2 metadata: %v", id.Title(), d))
	}
}
