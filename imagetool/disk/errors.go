package disk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// A RefusedError says why an image is not used although it could be read, and
// what a person can do about it.
type RefusedError struct {
	Reason string
	Hint   string // may be empty
}

func (e *RefusedError) Error() string { return e.Reason }

// Advice is the hint.
func (e *RefusedError) Advice() string { return e.Hint }

func refuse(hint, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: fmt.Sprintf(format, args...), Hint: hint}
}

// A command in a hint stands between single quotes, and works as it stands there, with
// IMAGE for the image.
const (
	hintRestore = "on a copy of the image, 'sgdisk --move-second-header IMAGE' writes the protective MBR and both GPTs anew"
	hintOthers  = "what lies outside of it can be signed alone, with --partition N; 'imagetool inspect IMAGE' lists the partitions"
	hintChoose  = "say which one is meant: --partition N, or --partition 0 for the whole disk; 'imagetool inspect IMAGE' lists them"
	hintCut     = "compare the size of the image with that of the original: its end may be missing"
	hintSector  = "say what sectors the guest's disk has: --sector-size 512 or --sector-size 4096"
)

const hintLeaveOutFlag = "--leave-out "

// hintLeaveOut is for what is wrong with these volumes alone. Beside the whole disk there
// are no others.
func hintLeaveOut(ids ...volume.ID) string {
	if slices.Contains(ids, volume.WholeDisk) {
		return ""
	}
	var flags strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&flags, hintLeaveOutFlag+"%s ", id)
	}
	return flags.String() + "signs the others"
}

// AnyVolume stands for all volumes of a disk.
const AnyVolume volume.ID = ""

// A Problem keeps a volume from being used: this one, or for AnyVolume each that was not
// asked for by its name.
type Problem struct {
	Volume volume.ID
	*RefusedError
}

// Refused is the reason why the volume with this name, or any but those that are left
// out, is not used; nil if there is none. What is wrong with a volume is wrong with those
// that lie on it.
func (l *Layout) Refused(id volume.ID, leaveOut ...volume.ID) *RefusedError {
	for _, p := range l.Problems {
		leftOut := slices.ContainsFunc(leaveOut, func(x volume.ID) bool { return l.Within(p.Volume, x) })
		if l.Within(id, p.Volume) || id == AnyVolume && !leftOut || id != AnyVolume && l.Within(p.Volume, id) {
			return p.RefusedError
		}
	}
	found := slices.ContainsFunc(l.Volumes, func(v Volume) bool { return v.ID == id })
	if id == AnyVolume || found || len(l.Problems) == 0 {
		return nil
	}
	return l.Problems[0].RefusedError // by which it may be missing
}

// Within reports whether a volume is the other one, or a logical volume that lies on it.
func (l *Layout) Within(id, other volume.ID) bool {
	return id == other || slices.Contains(l.lies[id], other)
}

// Has reports whether there is a volume with this name, be it one that is not used.
func (l *Layout) Has(id volume.ID) bool {
	return slices.ContainsFunc(l.Volumes, func(v Volume) bool { return v.ID == id }) ||
		slices.ContainsFunc(l.Problems, func(p Problem) bool { return p.Volume == id })
}
