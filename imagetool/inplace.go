package imagetool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/undo"
	"github.com/vmseal/vmseal/signer"
)

// signInPlace changes the image itself. Until the labels are committed nothing is
// written; after an error the image is as it was.
func (m *Image) signInPlace(ctx context.Context, o *SignOptions, edit fsys.EditOptions, sealed *Sealed) (*signer.Report, error) {
	file, err := output.UndoLogOf(m.Path())
	if err != nil {
		return nil, err
	}
	g := &undo.Guard{Path: m.Path(), Size: m.Size(), Log: file, Device: m.file}
	list, err := createManifest(ctx, m, o)
	if err != nil {
		return nil, err
	}
	begun, release := false, func() {}
	defer func() { release() }()
	t := m.Tree(edit)
	t.commit = func(_ context.Context, txs []fsys.Transaction) error {
		if !anything(txs) {
			return nil
		}
		release = o.hold()
		err := g.Commit(m.file.Unchanged, changes(m.Systems, txs))
		begun = err == nil
		return err
	}
	report, err := t.sign(ctx, o.Options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", m.Path(), err), list.abort())
	}
	outputs, err := finishOutputs(ctx, m, o, list, t, report, sealed)
	if err == nil {
		err = output.Commit(ctx.Err, outputs...)
	}
	switch {
	case !begun:
		return report, err
	case err != nil:
		return nil, g.Undo(err)
	}
	return report, g.Finish()
}

// A change is the labels of one file system, as part of the whole image.
type change struct {
	fsys.Transaction
	system *FileSystem
}

func changes(systems []*FileSystem, txs []fsys.Transaction) []undo.Change {
	var list []undo.Change
	for i, tx := range txs {
		list = append(list, change{tx, systems[i]})
	}
	return list
}

func (c change) Blocks() iter.Seq2[undo.Block, error] {
	return func(yield func(undo.Block, error) bool) {
		for b, err := range c.Transaction.Blocks() {
			if !yield(undo.Block{Offset: c.system.Volume.Start + b.Offset, Versions: b.Versions}, err) {
				return
			}
		}
	}
}

func (c change) Commit(ctx context.Context) error {
	if err := c.Transaction.Commit(ctx, c.system.dev); err != nil {
		return fmt.Errorf("%s: %w", c.system.Volume, err)
	}
	return nil
}

// anything reports whether there is something to write.
func anything(txs []fsys.Transaction) bool {
	return slices.ContainsFunc(txs, func(tx fsys.Transaction) bool { return !tx.Empty() })
}

// A Recovery is what Recover has done.
type Recovery struct {
	undo.Summary
	Log string
}

// Recover brings back the bytes that an image had before a change in place that was
// cut short. log names its undo log; "" is the one in its place. Without an error
// the log is gone.
func Recover(path, log string) (*Recovery, error) {
	d, err := hostfile.OpenPending(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	file := output.OpenUndoLog(log)
	if log == "" {
		if file, err = output.UndoLogOf(path); err != nil {
			return nil, err
		}
	}
	if err := file.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := d.LockPending(hostfile.ForWriting); err != nil {
		return nil, err
	}
	summary, err := undo.Recover(file, d, d.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Remove(); err != nil {
		return nil, fmt.Errorf("%s has its bytes back, but the undo log is not removed for good: %w", path, err)
	}
	return &Recovery{summary, file.Path()}, nil
}
