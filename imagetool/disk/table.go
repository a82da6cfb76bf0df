package disk

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// A table is a decoded partition table, or what there is instead of one.
type table struct {
	kind     string // "gpt", "mbr" or "none"
	sector   int
	volumes  []Volume
	own      []area        // what the table itself occupies
	unread   *RefusedError // there is something like a table, which the kernel does not take for one
	problems []Problem
	warnings []string
}

// An area is bytes that no volume may cover.
type area struct {
	what       string
	start, end int64
}

func (t *table) warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

func (t *table) problem(id volume.ID, hint, format string, args ...any) {
	t.problems = append(t.problems, Problem{id, refuse(hint, format, args...)})
}

// reserve keeps volumes away from sectors of the table.
func (t *table) reserve(what string, lba, sectors uint64) {
	s := int64(t.sector)
	t.own = append(t.own, area{what, int64(lba) * s, int64(lba+sectors) * s})
}

// sectorSizes are those that disks have.
var sectorSizes = []int{512, 4096}

// readTable finds the table that the kernel goes by (check_part in
// block/partitions/core.c): a GPT behind a protective MBR, else an MBR without one. The
// size of a sector is 0 if nobody knows it.
func readTable(v *view, sectorSize int) (*table, error) {
	sizes := sectorSizes
	if sectorSize != 0 {
		sizes = []int{sectorSize}
	}
	boot := readBootRecord(v.head)
	if boot.protective() {
		return readGPTs(v, boot, sizes)
	}
	gpt, err := anyGPT(v, sizes)
	if err != nil {
		return nil, err
	}
	none := &table{kind: "none"}
	switch {
	case boot.mentionsGPT():
		// Needed: the kernel finds no partition.
		none.unread = refuse(hintRestore, "the MBR has a protective entry that does not begin at sector 1: the kernel takes neither the MBR nor a GPT")
		return none, nil
	case !boot.isTable() && gpt:
		// Needed: the kernel finds no partition.
		none.unread = refuse(hintRestore, "there is a GPT, but no protective MBR in front of it: the kernel does not take it")
		return none, nil
	case !boot.isTable():
		return none, nil
	}
	t, err := readMBRs(v, boot, sizes)
	if err == nil && gpt {
		t.warn("there is a GPT, too; the MBR is not a protective one, and the kernel goes by that")
	}
	return t, err
}

// check holds a table to the disk: every volume inside of it, none over another or
// over the table. As the kernel does, it cuts off a volume that reaches past the end
// (blk_add_partition), and gives up one that begins there.
func (t *table) check(size int64) {
	t.volumes = slices.DeleteFunc(t.volumes, func(v Volume) bool {
		if v.Start < size {
			return false
		}
		t.problem(v.ID, hintCut+"; "+hintLeaveOut(v.ID), "the partition table lies: %s begins at byte %d, but the image has %d bytes", v.ID.Title(), v.Start, size)
		return true
	})
	for i := range t.volumes {
		v := &t.volumes[i]
		if v.Size > size-v.Start {
			t.warn("%s reaches to byte %d, but the image has %d bytes: the rest of it is missing", v.ID.Title(), uint64(v.Start)+uint64(v.Size), size)
			v.Size = size - v.Start
		}
		for _, a := range t.own {
			if v.Start < a.end && a.start < v.Start+v.Size {
				// Needed: writing to the one would change the other.
				t.problem(v.ID, hintLeaveOut(v.ID), "%s lies over %s", v.ID.Title(), a.what)
			}
		}
	}
	t.checkOverlaps()
}

func (t *table) checkOverlaps() {
	byStart := slices.SortedFunc(slices.Values(t.volumes), func(a, b Volume) int { return cmp.Compare(a.Start, b.Start) })
	for i, a := range byStart {
		for _, b := range byStart[i+1:] {
			if b.Start >= a.Start+a.Size {
				break
			}
			for _, id := range []volume.ID{a.ID, b.ID} {
				// Needed: writing to the one would change the other.
				t.problem(id, hintLeaveOut(a.ID, b.ID), "partitions %s and %s overlap", a.ID, b.ID)
			}
		}
	}
}

// known counts the volumes that begin with something that has a name.
func (t *table) known(v *view) (int, error) {
	n := 0
	for _, p := range t.volumes {
		in, err := newView(p.On(v.dev), 0)
		if err != nil {
			return 0, err
		}
		kinds, err := in.found()
		if err != nil {
			return 0, err
		}
		if len(kinds) > 0 {
			n++
		}
	}
	return n, nil
}

// sameVolumes reports whether two tables describe the same bytes.
func sameVolumes(a, b *table) bool {
	return slices.EqualFunc(a.volumes, b.volumes, func(x, y Volume) bool {
		return x.ID == y.ID && x.Start == y.Start && x.Size == y.Size
	})
}

// A memFile is what go-diskfs reads tables from.
type memFile struct{ *io.SectionReader }

func (memFile) Stat() (fs.FileInfo, error) { return nil, fmt.Errorf("stat: %w", fs.ErrInvalid) }
func (memFile) Close() error               { return nil }

// oneLine is for the errors of other people's parsers.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
