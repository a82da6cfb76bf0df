package disk

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A layout is what one image turned out to be.
type layout struct {
	format     string // container
	table      string // "gpt", "mbr" or "none"
	sector     int
	partitions []Partition
}

// minSize is one sector: nothing smaller can be a disk.
const minSize = 512

// probe finds out what an image holds. What has no certain reading is returned as
// far as it goes, along with the reason why it is refused.
func probe(r io.ReaderAt, size int64) (layout, *RefusedError, error) {
	l := layout{format: "raw", table: "none", sector: 512}
	if size == 0 {
		return l, refuse("", "the file is empty"), nil
	}
	v, err := newView(r, size)
	if err != nil {
		return l, nil, fmt.Errorf("reading the first sectors: %w", err)
	}
	kind, err := v.container()
	if err != nil {
		return l, nil, fmt.Errorf("reading the last sector: %w", err)
	}
	if kind != "" {
		l.format = kind
		return l, refuse(Advice(kind), "this is %s, not a raw disk image", kind), nil
	}
	if size < minSize {
		return l, refuse("", "%d bytes are too few for a disk image", size), nil
	}
	return probeRaw(v, l)
}

func probeRaw(v *view, l layout) (layout, *RefusedError, error) {
	whole, err := v.found()
	if err != nil {
		return l, nil, fmt.Errorf("looking for a file system: %w", err)
	}
	// A bootable CD image may carry a partition table for USB sticks; it is a CD.
	if slices.Contains(whole, "iso9660") && !slices.ContainsFunc(whole, isExtKind) {
		l.format = "iso9660"
		return l, refuse(Advice("iso9660"), "this is an ISO 9660 image"), nil
	}
	t, refused, err := readTable(v)
	if err != nil {
		return l, nil, err
	}
	l.table, l.sector = t.kind, t.sector
	switch {
	case t.kind != "none" && len(whole) > 0:
		return l, refuse(hintWipe, "the image has both a partition table (%s) and a file system over the whole disk (%s)",
			strings.ToUpper(t.kind), strings.Join(whole, ", ")), nil
	case refused != nil:
		return l, refused, nil
	case t.kind != "none":
		return probePartitions(v, l, t.partitions)
	case len(whole) == 0 && allZero(v.head):
		return l, refuse("", "there is neither a partition table nor a file system: the image begins with zeros"), nil
	case len(whole) == 0:
		return l, refuse("", "there is neither a partition table nor a known file system"), nil
	}
	l.partitions = []Partition{{Size: v.size, FS: whole[0]}}
	return l, ambiguous("the image", whole), nil
}

// probePartitions fills in what the partitions hold.
func probePartitions(v *view, l layout, parts []Partition) (layout, *RefusedError, error) {
	var refused *RefusedError
	l.partitions = parts
	for i := range parts {
		p := &parts[i]
		pv, err := newView(p.Section(v.r), p.Size)
		if err != nil {
			return l, nil, fmt.Errorf("reading partition %d: %w", p.Number, err)
		}
		kinds, err := pv.found()
		if err != nil {
			return l, nil, fmt.Errorf("reading partition %d: %w", p.Number, err)
		}
		if len(kinds) > 0 {
			p.FS = kinds[0]
		}
		if r := ambiguous(fmt.Sprintf("partition %d", p.Number), kinds); refused == nil {
			refused = r
		}
	}
	return l, refused, nil
}

// ambiguous refuses two kinds of content in one place where one of them could be
// taken for ours. Elsewhere it does not matter which it is.
func ambiguous(where string, kinds []string) *RefusedError {
	if len(kinds) < 2 || !slices.ContainsFunc(kinds, isExtKind) {
		return nil
	}
	return refuse(hintWipe, "%s has the signatures of more than one content: %s", where, strings.Join(kinds, ", "))
}

func isExtKind(kind string) bool { return strings.HasPrefix(kind, "ext") }
