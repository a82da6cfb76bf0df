package seals

import (
	"fmt"
	"iter"
	"slices"
	"strings"
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
	Kind      string `json:"kind"`
	Partition int    `json:"partition"`      // where it lies; 0 is the whole disk
	Path      string `json:"path,omitempty"` // its file or folder there
	Over      []int  `json:"over"`           // the partitions that it covers
	Text      string `json:"text"`           // all of that for people

	below, suffix string // of the files that it covers; both empty for a whole partition
}

func (s *Seal) String() string { return s.Text }

// Covers reports whether the seal covers anything in a partition.
func (s *Seal) Covers(partition int) bool { return slices.Contains(s.Over, partition) }

// breaks reports whether another label for a file of these names breaks the seal.
func (s *Seal) breaks(partition int, paths []string) bool {
	return s.Covers(partition) && slices.ContainsFunc(paths, func(path string) bool {
		return strings.HasPrefix(path, s.below) && strings.HasSuffix(path, s.suffix)
	})
}

// Broken lists the seals that new labels break. Each file that gets one is given by its
// partition and its paths in it.
func Broken(all []Seal, changed iter.Seq2[int, []string]) []Seal {
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

// place names a partition as people do.
func place(number int) string {
	if number == 0 {
		return "the whole disk"
	}
	return fmt.Sprintf("partition %d", number)
}

func places(numbers []int) string {
	if len(numbers) == 0 {
		return "nothing in this image"
	}
	names := make([]string, len(numbers))
	for i, n := range numbers {
		names[i] = place(n)
	}
	return strings.Join(names, " and ")
}
