package imagetool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"

	"github.com/vmseal/vmseal/imagetool/ext4"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/undo"
	"github.com/vmseal/vmseal/signer"
)

// A CutShortError says that an image was left half changed, with its undo log beside
// it: what kept the change from its end has kept it from being undone as well.
type CutShortError struct {
	Path string
	Log  string
	Err  error
}

func (e *CutShortError) Error() string {
	return fmt.Sprintf("%s is half changed, and its undo log is %s: %v", e.Path, e.Log, e.Err)
}

func (e *CutShortError) Unwrap() error { return e.Err }

// A LogStaysError says that an image was changed to the end, and that its undo log
// could not be removed, or not so that it is gone after a loss of power too.
type LogStaysError struct {
	Path string
	Log  string
	Err  error
}

func (e *LogStaysError) Error() string {
	return fmt.Sprintf("%s is complete, but its undo log is not removed for good: %v", e.Path, e.Err)
}

func (e *LogStaysError) Unwrap() error { return e.Err }

// An OtherImageError says that an undo log is for an image of another size.
type OtherImageError struct {
	Log       string
	Want, Got int64
}

func (e *OtherImageError) Error() string {
	return fmt.Sprintf("undo log %s is for an image of %d bytes, not of %d", e.Log, e.Want, e.Got)
}

// An undoLog is where the log of one image is kept.
type undoLog interface {
	// Create makes the log durable, or there is none afterwards.
	Create(write func(io.Writer) error) error
	Open() (undoFile, int64, error)
	Remove() error
	Path() string
}

type undoFile interface {
	io.ReaderAt
	io.Closer
}

// logFile is an undoLog on disk.
type logFile struct{ *output.UndoLog }

func (l logFile) Open() (undoFile, int64, error) { return l.UndoLog.Open() }

// A guarded change of an image in place: there is an undo log from before the first
// write until finish or undo.
type guarded struct {
	path    string
	size    int64
	log     undoLog
	whole   undo.Device
	systems []part
}

// A part is one file system of a guarded change.
type part struct {
	name  string
	start int64
	dev   ext4.Device
}

// commit writes the log and then all transactions. A failure undoes what
// was written. It does not stop half way for a context.
func (g *guarded) commit(unchanged func() error, txs []*ext4.Transaction) error {
	if err := unchanged(); err != nil {
		return err
	}
	id := undo.Image{Size: g.size, Name: filepath.Base(g.path)}
	err := g.log.Create(func(w io.Writer) error {
		return undo.Write(w, id, g.whole, g.blocks(txs))
	})
	if err != nil {
		return g.withoutLog(err)
	}
	for i, tx := range txs {
		if err := tx.Commit(context.Background(), g.systems[i].dev); err != nil {
			return g.undo(fmt.Errorf("%s: %w", g.systems[i].name, err))
		}
	}
	return nil
}

// withoutLog adds to the error of a log that could not be made if there is one all the
// same, since it could not be removed either. Nothing else was written.
func (g *guarded) withoutLog(err error) error {
	f, _, missing := g.log.Open()
	if errors.Is(missing, fs.ErrNotExist) {
		return err
	}
	if missing == nil {
		f.Close()
	}
	return errors.Join(err, &undo.PendingError{Path: g.path, Log: g.log.Path()})
}

// blocks are those of all transactions, from the beginning of the image.
func (g *guarded) blocks(txs []*ext4.Transaction) iter.Seq2[undo.Block, error] {
	return func(yield func(undo.Block, error) bool) {
		for i, tx := range txs {
			for b, err := range tx.Blocks() {
				if !yield(undo.Block{Offset: g.systems[i].start + b.Offset, Versions: b.Versions}, err) {
					return
				}
			}
		}
	}
}

// undo brings back what was there, because of an error, which it returns. One that
// keeps it from that makes a *CutShortError of it.
func (g *guarded) undo(cause error) error {
	if _, err := restore(g.log, g.whole, g.size); err != nil {
		return &CutShortError{g.path, g.log.Path(), errors.Join(cause, fmt.Errorf("undoing it: %w", err))}
	}
	if err := g.log.Remove(); err != nil {
		return &CutShortError{g.path, g.log.Path(), errors.Join(cause, fmt.Errorf("all was undone, but the log is not removed for good: %w", err))}
	}
	return cause
}

// finish removes the log: from here on the change stands.
func (g *guarded) finish() error {
	if err := g.log.Remove(); err != nil {
		return &LogStaysError{g.path, g.log.Path(), err}
	}
	return nil
}

// restore undoes what a log says.
func restore(log undoLog, dev undo.Device, size int64) (undo.Summary, error) {
	f, n, err := log.Open()
	if err != nil {
		return undo.Summary{}, err
	}
	defer f.Close()
	l, err := undo.Read(f, n)
	if err != nil {
		return undo.Summary{}, fmt.Errorf("undo log %s: %w", log.Path(), err)
	}
	if l.Image.Size != size {
		return undo.Summary{}, &OtherImageError{log.Path(), l.Image.Size, size}
	}
	return l.Restore(dev)
}

// signInPlace changes the image itself. Until the labels are committed nothing is
// written; after an error the image is as it was.
func (m *Image) signInPlace(ctx context.Context, o *SignOptions, edit ext4.EditOptions, sealed *Sealed) (*signer.Report, error) {
	file, err := output.UndoLogOf(m.Path())
	if err != nil {
		return nil, err
	}
	g := &guarded{path: m.Path(), size: m.Size(), log: logFile{file}, whole: m.file}
	for _, s := range m.Systems {
		g.systems = append(g.systems, part{s.Volume.String(), s.Volume.Start, s.dev})
	}
	list, err := createManifest(ctx, m, o)
	if err != nil {
		return nil, err
	}
	begun, release := false, func() {}
	defer func() { release() }()
	t := m.Tree(edit)
	t.commit = func(_ context.Context, txs []*ext4.Transaction) error {
		if !anything(txs) {
			return nil
		}
		release = o.hold()
		err := g.commit(m.file.Unchanged, txs)
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
		return nil, g.undo(err)
	}
	return report, g.finish()
}

// anything reports whether there is something to write.
func anything(txs []*ext4.Transaction) bool {
	return slices.ContainsFunc(txs, func(tx *ext4.Transaction) bool { return !tx.Empty() })
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
	summary, err := restore(logFile{file}, d, d.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Remove(); err != nil {
		return nil, fmt.Errorf("%s has its bytes back, but the undo log is not removed for good: %w", path, err)
	}
	return &Recovery{summary, file.Path()}, nil
}
