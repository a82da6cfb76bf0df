package seals

import (
	"iter"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// Kinds of seals.
const (
	Verity    = "dm-verity"
	AVB       = "avb"
	OSTree    = "ostree"
	Composefs = "composefs"
)

// A Seal is one integrity layer.
type Seal struct {
	Kind      string      `json:"kind"`
	Partition volume.ID   `json:"partition"`      // where it lies
	Path      string      `json:"path,omitempty"` // its file or folder there
	Over      []volume.ID `json:"over"`           // the volumes that it covers
	Text      string      `json:"text"`           // all of that for people

	below, suffix string // of the files that it covers; both empty for a whole partition
}

func (s *Seal) String() string { return s.Text }

// Covers reports whether the seal covers anything in a partition.
func (s *Seal) Covers(partition volume.ID) bool { return slices.Contains(s.Over, partition) }

// breaks reports whether another label for a file of these names breaks the seal.
func (s *Seal) breaks(partition volume.ID, paths []string) bool {
	return s.Covers(partition) && slices.ContainsFunc(paths, func(path string) bool {
		return strings.HasPrefix(path, s.below) && strings.HasSuffix(path, s.suffix)
	})
}

// Broken lists the seals that new labels break. Each file that gets one is given by its
// partition and its paths in it.
func Broken(all []Seal, changed iter.Seq2[volume.ID, []string]) []Seal {
	is := make([]bool, len(all))
	for partition, paths := range changed {
		for i := range all {
			is[i] = is[i] || all[i].breaks(partition, paths)
		}
	}
	var broken []Seal
	for i, s := range all {
		if is[i] {
			broken = append(broken, s)
		}
	}
	return broken
}

// A BrokenError says that signing would break seals.
type BrokenError struct{ Seals []Seal }

func (e *BrokenError) Error() string {
	texts := make([]string, len(e.Seals))
	for i := range e.Seals {
		texts[i] = e.Seals[i].Text
	}
	return "signing would break another integrity layer: " + strings.Join(texts, "; ")
}

// Advice is what a person can do about it.
func (e *BrokenError) Advice() string {
	advice := "sign first, then seal: "
	switch e.Seals[0].Kind {
	case Verity:
		advice += "make the hash tree, and the signature of its root hash, of the signed image"
	case AVB:
		advice += "sign the image as it was before avbtool added its footer"
	case OSTree:
		advice += "commit signed files to the repository"
	case Composefs:
		advice += "make the composefs image of signed files"
	}
	return advice + "; --break-seals signs nevertheless"
}

// places names volumes as people do.
func places(ids []volume.ID) string {
	if len(ids) == 0 {
		return "nothing in this image"
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.Title()
	}
	return strings.Join(names, " and ")
}
