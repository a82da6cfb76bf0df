package imagetool

import (
	"fmt"
	"iter"
	"math"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
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
	sums := make([]*SparseError, len(t.systems))
	for i, s := range t.systems {
		sums[i] = sparseSum(s.Volume)
	}
	for i := range files {
		f := &files[i]
		if t.bound(f.Paths) != signer.ActionSkip {
			sums[f.Ref.(ref).system].add(f.Name(), f.Size)
		}
	}
	for _, e := range sums {
		if e.Total > e.Limit {
			return e
		}
	}
	return nil
}

// CheckSparse is a *SparseError if the files of a volume are too large for all of them to
// be read unasked.
func CheckSparse(v disk.Volume, files iter.Seq[fsys.File]) error {
	e := sparseSum(v)
	for f := range files {
		e.add(f.Paths[0], f.Inode.Stat().Size)
	}
	if e.Total > e.Limit {
		return e
	}
	return nil
}

// sparseSum has no file yet.
func sparseSum(v disk.Volume) *SparseError {
	e := &SparseError{Volume: v, Limit: math.MaxInt64}
	if v.Size <= (math.MaxInt64-sparseSlack)/sparseRatio {
		e.Limit = sparseRatio*v.Size + sparseSlack
	}
	return e
}

func (e *SparseError) add(path string, size int64) {
	e.Total += min(size, math.MaxInt64-e.Total)
	if size > e.Size {
		e.Path, e.Size = path, size
	}
}
