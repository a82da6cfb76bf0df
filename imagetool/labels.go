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
		for b, err := range l.tx.Blocks() {
			if !yield(undo.Block{Offset: l.system.Volume.Start + b.Offset, Versions: b.Versions}, err) {
				return
			}
		}
	}
}

func (l *labels) Commit(ctx context.Context) error {
	if err := l.tx.Commit(ctx, l.system.dev); err != nil {
		return &VolumeError{l.system.Volume, err}
	}
	return nil
}
