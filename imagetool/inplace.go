package imagetool

import (
	"context"
	"slices"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// An InPlace is an image that gets labels itself, under an undo log. Commit or Abort ends
// it.
type InPlace struct {
	image   *Image
	guard   undo.Guard
	hold    func() (release func())
	release func()
	begun   bool // something was written
}

// InPlace begins to change the image, which has to be open for writing. Nothing is
// written before the labels are committed. From then on until the end the process had
// better not be killed: hold is called before, and what it returns afterwards.
func (m *Image) InPlace(hold func() (release func())) (*InPlace, error) {
	log, err := output.UndoLogOf(m.Path())
	if err != nil {
		return nil, err
	}
	return &InPlace{
		image:   m,
		guard:   undo.Guard{Path: m.Path(), Size: m.FileSize(), Log: log, Device: m.file},
		hold:    hold,
		release: func() {},
	}, nil
}

// Tree gives the files of the image, whose labels are written to the image.
func (p *InPlace) Tree(opt fsys.EditOptions) (*Tree, error) {
	t := p.image.Tree(opt)
	t.commit = p.write
	return t, nil
}

func (p *InPlace) write(_ context.Context, all []*labels) error {
	var changes []undo.Change
	for _, l := range all {
		changes = append(changes, l)
	}
	if !slices.ContainsFunc(all, func(l *labels) bool { return !l.tx.Empty() }) {
		return nil
	}
	p.release = p.hold()
	err := p.guard.Commit(p.image.file.Unchanged, changes)
	p.begun = err == nil
	return err
}

// SHA256 digests the image as it is now.
func (p *InPlace) SHA256(ctx context.Context) ([]byte, error) { return p.image.SHA256(ctx) }

// Commit puts what belongs to the image to its place; from there on the labels stand. A
// failure takes all of it back.
func (p *InPlace) Commit(ctx context.Context, with ...*output.File) error {
	if err := output.Commit(ctx.Err, with...); err != nil {
		return p.Abort(err)
	}
	defer p.release()
	if !p.begun {
		return nil
	}
	return p.guard.Finish()
}

// Abort gives the image its bytes back because of an error, which it returns.
func (p *InPlace) Abort(cause error) error {
	defer p.release()
	if !p.begun {
		return cause
	}
	return p.guard.Undo(cause)
}
