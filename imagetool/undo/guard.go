package undo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
)

// A Store is where the log of one image is kept.
type Store interface {
	// Create makes the log durable, or there is none afterwards.
	Create(write func(io.Writer) error) error
	Open() (File, int64, error)
	Remove() error
	Path() string
}

// A File is a log that is open.
type File interface {
	io.ReaderAt
	io.Closer
}

// A Change is what will be written to an image, planned to the last byte.
type Change interface {
	// Blocks are all blocks that Commit writes, each of them once. Offsets count from
	// the beginning of the image.
	Blocks() iter.Seq2[Block, error]

	// Commit writes them. A failure leaves the image in any state in between.
	Commit(context.Context) error
}

// A Guard keeps a change in place safe: there is an undo log from before the first
// write until Finish or Undo.
type Guard struct {
	Path   string // of the image
	Size   int64
	Grown  int64 // see Image; the device is then a Truncater
	Log    Store
	Device Device // the whole image
}

// Commit writes the log and then all changes. A failure undoes what was written. It does
// not stop half way for a context. The last look at the image comes first: unchanged
// fails if it is not any more what the changes were planned for.
func (g *Guard) Commit(unchanged func() error, changes []Change) error {
	if err := unchanged(); err != nil {
		return err
	}
	id := Image{Size: g.Size, Name: filepath.Base(g.Path), Grown: g.Grown}
	err := g.Log.Create(func(w io.Writer) error {
		return Write(w, id, g.Device, blocks(changes))
	})
	if err != nil {
		return g.withoutLog(err)
	}
	for _, c := range changes {
		if err := c.Commit(context.Background()); err != nil {
			return g.Undo(err)
		}
	}
	return nil
}

// withoutLog adds to the error of a log that could not be made if there is one all the
// same, since it could not be removed either. Nothing else was written.
func (g *Guard) withoutLog(err error) error {
	f, _, missing := g.Log.Open()
	if errors.Is(missing, fs.ErrNotExist) {
		return err
	}
	if missing == nil {
		f.Close()
	}
	return errors.Join(err, &PendingError{Path: g.Path, Log: g.Log.Path()})
}

// blocks are those of all changes.
func blocks(changes []Change) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for _, c := range changes {
			for b, err := range c.Blocks() {
				if !yield(b, err) {
					return
				}
			}
		}
	}
}

// Undo brings back what was there, because of an error, which it returns. One that
// keeps it from that makes a *CutShortError of it.
func (g *Guard) Undo(cause error) error {
	if _, err := Recover(g.Log, g.Device, g.Size); err != nil {
		return &CutShortError{g.Path, g.Log.Path(), errors.Join(cause, fmt.Errorf("undoing it: %w", err))}
	}
	if err := g.Log.Remove(); err != nil {
		return &CutShortError{g.Path, g.Log.Path(), errors.Join(cause, fmt.Errorf("all was undone, but the log is not removed for good: %w", err))}
	}
	return cause
}

// Finish removes the log: from here on the change stands.
func (g *Guard) Finish() error {
	if err := g.Log.Remove(); err != nil {
		return &LogStaysError{g.Path, g.Log.Path(), err}
	}
	return nil
}

// Recover undoes what a log says on an image of this size, or of that to which the change
// has brought it by then.
func Recover(log Store, dev Device, size int64) (Summary, error) {
	f, n, err := log.Open()
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	l, err := Read(f, n)
	if err != nil {
		return Summary{}, fmt.Errorf("undo log %s: %w", log.Path(), err)
	}
	if size < l.Image.Size || size > l.Image.limit() {
		return Summary{}, &OtherImageError{log.Path(), l.Image.Size, size}
	}
	return l.Restore(dev)
}
