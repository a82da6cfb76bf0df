package imagetool

import (
	"context"
	"iter"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// labels are what is to be written to one file system. They are an undo.Change: their
// place in the whole image is known, and the device that the file system lies on.
type labels struct {
	tx     fsys.Transaction
	system *FileSystem
}

var _ undo.Change = (*labels)(nil)

func (l *labels) Blocks() iter.Seq2[undo.Block, error] {
	return func(yield func(undo.Block, error) bool) {
		places := l.system.Volume.Places()
		for b, err := range l.tx.Blocks() {
			if err != nil {
				yield(undo.Block{}, err)
				return
			}
			at := int64(0)
			for r := range places(b.Offset, int64(len(b.Versions[0]))) {
				n := r.End - r.Start
				if !yield(undo.Block{Offset: r.Start, Versions: part(b.Versions, at, n)}, nil) {
					return
				}
				at += n
			}
		}
	}
}

// part is a stretch of a block whose bytes do not lie together on the disk.
func part(versions [][]byte, at, n int64) [][]byte {
	parts := make([][]byte, len(versions))
	for i, v := range versions {
		parts[i] = v[at : at+n]
	}
	return parts
}

func (l *labels) Commit(ctx context.Context) error {
	if err := l.tx.Commit(ctx, l.system.dev); err != nil {
		return &VolumeError{l.system.Volume, err}
	}
	return nil
}
