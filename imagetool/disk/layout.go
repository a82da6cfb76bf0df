package disk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
)

// A Layout is what a disk turned out to hold.
type Layout struct {
	Format     string // "raw", or the name of a container
	Table      string // "gpt", "mbr" or "none"
	SectorSize int    // the unit of the table in bytes
	Volumes    []Volume
	Problems   []Problem
	Warnings   []string // what is not as it should be, and does no harm

	members []Volume                  // that look like physical volumes of LVM2
	lies    map[volume.ID][]volume.ID // on which of them each logical volume lies
}

// minSize is one sector: nothing smaller can be a disk.
const minSize = 512

// Detect finds out what a disk holds. What has no certain reading is found as far as it
// goes, and is a problem. The size of its sectors is one that the caller knows, or 0.
func Detect(disk block.Device, sectorSize int) (*Layout, error) {
	return detectDisk(disk, sectorSize, (*view).container)
}

// DetectRaw is Detect for bytes that are known to be those of a disk, whatever else a
// guest has made them look like.
func DetectRaw(disk block.Device, sectorSize int) (*Layout, error) {
	return detectDisk(disk, sectorSize, func(*view) (string, error) { return "", nil })
}

func detectDisk(disk block.Device, sectorSize int, container func(*view) (string, error)) (*Layout, error) {
	l := &Layout{Format: "raw", Table: "none", SectorSize: 512, lies: map[volume.ID][]volume.ID{}}
	if disk.Size() == 0 {
		// Needed: there is nothing to sign.
		l.problem(AnyVolume, refuse("", "the file is empty"))
		return l, nil
	}
	in, err := newView(disk, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the first sectors: %w", err)
	}
	kind, err := container(in)
	if err != nil {
		return nil, fmt.Errorf("reading the last sector: %w", err)
	}
	if kind != "" {
		l.Format = kind
		// Needed: the bytes are not those of the disk.
		l.problem(AnyVolume, refuse(Advice(kind), "this is %s, not a raw disk image", kind))
		return l, nil
	}
	if disk.Size() < minSize {
		// Needed: there is nothing to sign.
		l.problem(AnyVolume, refuse("", "%d bytes are too few for a disk image", disk.Size()))
		return l, nil
	}
	kinds, err := in.found()
	if err != nil {
		return nil, fmt.Errorf("looking for a file system: %w", err)
	}
	if err := l.look(Volume{ID: volume.WholeDisk, Size: disk.Size()}, in, kinds, sectorSize); err != nil {
		return l, err
	}
	if err := l.lookGroups(disk); err != nil {
		return nil, fmt.Errorf("looking for logical volumes: %w", err)
	}
	l.adviseOthers()
	return l, nil
}

// adviseOthers takes back the advice to leave volumes out, where there are no others that
// could be signed.
func (l *Layout) adviseOthers() {
	others := slices.ContainsFunc(l.Volumes, func(v Volume) bool {
		bad := func(p Problem) bool { return p.Volume == v.ID }
		return isExtKind(v.FS) && !slices.ContainsFunc(l.Problems, bad)
	})
	for _, p := range l.Problems {
		if before, _, ok := strings.Cut(p.Hint, hintLeaveOutFlag); ok && !others {
			p.Hint = strings.TrimSuffix(before, "; ")
		}
	}
}

func (l *Layout) problem(id volume.ID, reason *RefusedError) {
	l.Problems = append(l.Problems, Problem{id, reason})
}

// look notes what a volume holds, by the signatures that are there. Where that is
// volumes, it looks at each of them in turn.
func (l *Layout) look(v Volume, in *view, kinds []string, sectorSize int) error {
	t, err := split(v, in, sectorSize)
	if err != nil {
		return err
	}
	if t.kind != "none" {
		l.Table, l.SectorSize = t.kind, t.sector
	}
	l.Problems = append(l.Problems, t.problems...)
	l.Warnings = append(l.Warnings, t.warnings...)
	if t.kind == "none" || len(kinds) > 0 {
		l.noteContents(v, in, kinds, t)
	}
	for _, p := range t.volumes {
		if err := l.lookInside(p, in); err != nil {
			return fmt.Errorf("reading %s: %w", p.ID.Title(), err)
		}
	}
	return nil
}

func (l *Layout) lookInside(p Volume, outer *view) error {
	in, err := newView(p.On(outer.dev), outer.start+p.Start)
	if err != nil {
		return err
	}
	kinds, err := in.found()
	if err != nil {
		return err
	}
	p.Start = in.start
	return l.look(p, in, kinds, 0)
}

// split reads the table of the volumes that lie in a volume. As the kernel, it looks for
// a partition table on a whole disk only.
func split(v Volume, in *view, sectorSize int) (*table, error) {
	if v.ID != volume.WholeDisk {
		return &table{kind: "none"}, nil
	}
	return readTable(in, sectorSize)
}

// noteContents takes a volume for what has its signature there. t is the table in it.
func (l *Layout) noteContents(v Volume, in *view, kinds []string, t *table) {
	where := v.ID.Title()
	if v.ID == volume.WholeDisk {
		where = "the image"
		l.noteDisk(in, kinds, t)
	}
	if len(kinds) > 0 {
		v.FS = kinds[0]
	} else if v.ID == volume.WholeDisk {
		return
	}
	if r := ambiguous(v, where, kinds); r != nil {
		l.problem(v.ID, r)
	}
	l.Volumes = append(l.Volumes, v)
	if slices.Contains(kinds, lvmMember) && !v.ID.IsLogical() {
		l.members = append(l.members, v)
	}
}

// noteDisk says what is wrong with a whole disk that has no table, or more than that.
func (l *Layout) noteDisk(in *view, kinds []string, t *table) {
	switch {
	case slices.Contains(kinds, "iso9660"):
		l.Format = "iso9660" // a CD, which may carry a table for USB sticks
		// Needed: the kernel mounts the whole of it, and nothing can be written there.
		l.problem(AnyVolume, refuse(Advice("iso9660"), "this is an ISO 9660 image"))
	case t.kind != "none":
		// Needed: one guest would run what lies in the partitions, another what lies over them.
		l.problem(AnyVolume, refuse(hintChoose, "the image has both a partition table (%s) and a file system over the whole disk (%s)",
			strings.ToUpper(t.kind), strings.Join(kinds, ", ")))
	case t.unread != nil && len(kinds) > 0:
		l.Warnings = append(l.Warnings, t.unread.Reason)
	case t.unread != nil:
		l.problem(AnyVolume, t.unread)
	case len(kinds) == 0 && block.AllZero(in.head):
		// Needed: there is nothing to sign.
		l.problem(AnyVolume, refuse("", "there is neither a partition table nor a file system: the image begins with zeros"))
	case len(kinds) == 0:
		// Needed: there is nothing to sign.
		l.problem(AnyVolume, refuse("", "there is neither a partition table nor a known file system"))
	}
}

// ambiguous refuses two kinds of content in one place where one of them could be
// taken for ours. Elsewhere it does not matter which it is.
func ambiguous(v Volume, where string, kinds []string) *RefusedError {
	if len(kinds) < 2 || !slices.ContainsFunc(kinds, isExtKind) {
		return nil
	}
	others := strings.Join(slices.DeleteFunc(slices.Clone(kinds), isExtKind), ",")
	hint := hintLeaveOut(v.ID)
	switch {
	case v.ID == volume.WholeDisk:
		hint = fmt.Sprintf("if the %s is what is meant, remove the rest on a copy of the image: 'wipefs --all --types %s IMAGE'", kinds[0], others)
	case !v.ID.IsLogical(): // wipefs knows whole devices alone
		hint = fmt.Sprintf("if the %s is what is meant, remove the rest as root, on a copy of the image: 'D=$(losetup --find --show --offset=%d --sizelimit=%d IMAGE) && wipefs --all --types %s $D && losetup --detach $D'; %s",
			kinds[0], v.Start, v.Size, others, hintLeaveOut(v.ID))
	}
	// Needed: a guest may take it for either, and writing for one spoils the other.
	return refuse(hint, "%s has the signatures of more than one content: %s", where, strings.Join(kinds, ", "))
}

func isExtKind(kind string) bool { return strings.HasPrefix(kind, "ext") }
