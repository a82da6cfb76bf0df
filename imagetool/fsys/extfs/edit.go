package extfs

import (
	"context"
	"errors"
	"iter"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/ext4"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/undo"
)

type listing struct{ l *ext4.Listing }

func (l *listing) Files() iter.Seq[fsys.File] {
	return func(yield func(fsys.File) bool) {
		for _, f := range l.l.Files {
			if !yield(fsys.File{Inode: (*inode)(f.Inode), Paths: f.Paths, EVM: f.EVM}) {
				return
			}
		}
	}
}

func (l *listing) Edit(opt fsys.EditOptions) (fsys.Edit, error) {
	e, err := l.l.Edit(ext4.EditOptions(opt))
	if err != nil {
		return nil, err
	}
	return &edit{e}, nil
}

type edit struct{ e *ext4.Edit }

func (e *edit) SetIMA(file fsys.Inode, value []byte) error {
	err := e.e.SetIMA(ext4Inode(file).Number, value)
	if errors.Is(err, ext4.ErrEVM) {
		return evmError{err}
	}
	return err
}

// An evmError is an ext4.ErrEVM for those who know fsys.ErrEVM.
type evmError struct{ error }

func (e evmError) Unwrap() error { return e.error }

func (e evmError) Is(target error) bool { return target == fsys.ErrEVM }

func (e *edit) NewBlocks() (needed, free uint64, err error) { return e.e.NewBlocks() }

func (e *edit) Prepare() (fsys.Transaction, error) {
	tx, err := e.e.Prepare()
	if err != nil {
		return nil, err
	}
	return &transaction{tx}, nil
}

type transaction struct{ tx *ext4.Transaction }

func (t *transaction) Empty() bool { return t.tx.Empty() }

func (t *transaction) Blocks() iter.Seq2[undo.Block, error] {
	return func(yield func(undo.Block, error) bool) {
		for b, err := range t.tx.Blocks() {
			if !yield(undo.Block(b), err) {
				return
			}
		}
	}
}

func (t *transaction) Commit(ctx context.Context, dev block.Device) error {
	return t.tx.Commit(ctx, dev)
}
