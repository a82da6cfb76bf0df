package disk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A Layout is what a disk turned out to hold.
type Layout struct {
	Format     string // "raw", or the name of a container
	Table      string // "gpt", "mbr" or "none"
	SectorSize int    // the unit of the table in bytes
	Volumes    []Volume
}

// minSize is one sector: nothing smaller can be a disk.
const minSize = 512

// Detect finds out what a disk holds. What has no certain reading is returned as far
// as it goes, along with the reason why it is refused.
func Detect(disk block.Device) (*Layout, *RefusedError, error) {
	l := &Layout{Format: "raw", Table: "none", SectorSize: 512}
	refused, err := l.detect(disk)
	return l, refused, err
}

func (l *Layout) detect(disk block.Device) (*RefusedError, error) {
	if disk.Size() == 0 {
		return refuse("", "the file is empty"), nil
	}
	in, err := newView(disk, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the first sectors: %w", err)
	}
	kind, err := in.container()
	if err != nil {
		return nil, fmt.Errorf("reading the last sector: %w", err)
	}
	if kind != "" {
		l.Format = kind
		return refuse(Advice(kind), "this is %s, not a raw disk image", kind), nil
	}
	if disk.Size() < minSize {
		return refuse("", "%d bytes are too few for a disk image", disk.Size()), nil
	}
	kinds, err := in.found()
	if err != nil {
		return nil, fmt.Errorf("looking for a file system: %w", err)
	}
	return l.look(Volume{Size: disk.Size()}, in, kinds)
}

// look notes what a volume holds, by the signatures that are there. Where that is
// volumes, it looks at each of them in turn.
func (l *Layout) look(v Volume, in *view, kinds []string) (*RefusedError, error) {
	inner, refused, err := l.split(v, in, kinds)
	if err != nil || refused != nil {
		return refused, err
	}
	if inner == nil {
		if len(kinds) > 0 {
			v.FS = kinds[0]
		}
		l.Volumes = append(l.Volumes, v)
		return ambiguous(v, kinds), nil
	}
	for _, p := range inner.partitions {
		r, err := l.lookInside(p, in)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", p.title(), err)
		}
		if refused == nil {
			refused = r
		}
	}
	return refused, nil
}

func (l *Layout) lookInside(p Volume, outer *view) (*RefusedError, error) {
	in, err := newView(p.On(outer.dev), outer.start+p.Start)
	if err != nil {
		return nil, err
	}
	kinds, err := in.found()
	if err != nil {
		return nil, err
	}
	p.Start = in.start
	return l.look(p, in, kinds)
}

// split reads the table of the volumes that lie in a volume; nil if it has none. As the
// kernel, it looks for a partition table on a whole disk only.
func (l *Layout) split(v Volume, in *view, kinds []string) (*table, *RefusedError, error) {
	if v.Number != 0 {
		return nil, nil, nil
	}
	// A bootable CD image may carry a partition table for USB sticks; it is a CD.
	if slices.Contains(kinds, "iso9660") && !slices.ContainsFunc(kinds, isExtKind) {
		l.Format = "iso9660"
		return nil, refuse(Advice("iso9660"), "this is an ISO 9660 image"), nil
	}
	t, refused, err := readTable(in)
	if err != nil {
		return nil, nil, err
	}
	l.Table, l.SectorSize = t.kind, t.sector
	switch {
	case t.kind != "none" && len(kinds) > 0:
		return nil, refuse(hintWipe, "the image has both a partition table (%s) and a file system over the whole disk (%s)",
			strings.ToUpper(t.kind), strings.Join(kinds, ", ")), nil
	case refused != nil:
		return nil, refused, nil
	case t.kind != "none":
		return &t, nil, nil
	case len(kinds) == 0 && block.AllZero(in.head):
		return nil, refuse("", "there is neither a partition table nor a file system: the image begins with zeros"), nil
	case len(kinds) == 0:
		return nil, refuse("", "there is neither a partition table nor a known file system"), nil
	}
	return nil, nil, nil
}

// ambiguous refuses two kinds of content in one place where one of them could be
// taken for ours. Elsewhere it does not matter which it is.
func ambiguous(v Volume, kinds []string) *RefusedError {
	if len(kinds) < 2 || !slices.ContainsFunc(kinds, isExtKind) {
		return nil
	}
	where := "the image"
	if v.Number != 0 {
		where = v.title()
	}
	return refuse(hintWipe, "%s has the signatures of more than one content: %s", where, strings.Join(kinds, ", "))
}

func isExtKind(kind string) bool { return strings.HasPrefix(kind, "ext") }
