package imagetool

import (
	"fmt"
	"math"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/signer"
)

// Holes cost nothing on the disk and an hour to read. What is to be read of a file
// system may be sparseRatio times as large as the file system, and sparseSlack more.
const (
	sparseRatio = 16
	sparseSlack = 1 << 30
)

// A SparseError says that the files of a file system are far larger than the file
// system, so that reading them would take longer than anybody meant it to.
type SparseError struct {
	Volume disk.Volume
	Path   string // the largest file
	Size   int64
	Total  int64 // of all files that are to be read
	Limit  int64
}

func (e *SparseError) Error() string {
	return fmt.Sprintf("%s: its files hold %d bytes, most of them holes; more than %d are not read in a file system of %d bytes. The largest is %s with %d",
		e.Volume, e.Total, e.Limit, e.Volume.Size, e.Path, e.Size)
}

// Bound makes Files fail with a *SparseError if the files that are to be read are too
// large: all but those that action, as that of package signer, leaves alone.
func (t *Tree) Bound(action func(paths []string) signer.Action) { t.bound = action }

// checkSparse holds each file system to the bound, if there is one.
func (t *Tree) checkSparse(files []signer.File) error {
	if t.bound == nil {
		return nil
	}
	errs := make([]SparseError, len(t.systems))
	for i := range files {
		f := &files[i]
		e := &errs[f.Ref.(ref).system]
		if t.bound(f.Paths) == signer.ActionSkip {
			continue
		}
		e.Total += min(f.Size, math.MaxInt64-e.Total)
		if f.Size > e.Size {
			e.Path, e.Size = f.Name(), f.Size
		}
	}
	for i, s := range t.systems {
		e := &errs[i]
		e.Volume, e.Limit = s.Volume, sparseRatio*s.Volume.Size+sparseSlack
		if s.Volume.Size > (math.MaxInt64-sparseSlack)/sparseRatio {
			e.Limit = math.MaxInt64
		}
		if e.Total > e.Limit {
			return e
		}
	}
	return nil
}
