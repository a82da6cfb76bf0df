package imagetool

import (
	"context"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// Space is what the labels need in one file system.
type Space struct {
	Volume    disk.Volume
	BlockSize int
	Needed    uint64 // new blocks
	Free      uint64
}

// plan finds out, before any work is done, whether every label can be written:
// it stages values of the right length and counts the blocks that they need.
func (m *Image) plan(ctx context.Context, o *SignOptions, opt fsys.EditOptions) ([]Space, error) {
	t := m.Tree(opt)
	if !o.AllowSparse {
		t.Bound(func(paths []string) signer.Action { return o.Action(t.Plain(paths)) })
	}
	files, err := t.Files(ctx)
	if err != nil {
		return nil, err
	}
	for i := range files {
		value, err := placeholder(t, &files[i], &o.Options)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if err := t.SetLabel(&files[i], value); err != nil {
			return nil, fmt.Errorf("%s: %w", files[i].Name(), err)
		}
	}
	return t.space()
}

// placeholder is as long as the label that the file will get. It is nil if the
// file will get none, or most likely keep the one that it has; where that turns
// out wrong, Commit still counts what it writes.
func placeholder(t *Tree, f *signer.File, o *signer.Options) ([]byte, error) {
	n := 0
	switch o.Action(t.Plain(f.Paths)) {
	case signer.ActionSign:
		n = o.ValueSize()
	case signer.ActionHash:
		n = 2 + o.Hash.Size() // type and hash id; see ima.DigestValue
	default:
		return nil, nil
	}
	present, err := t.Label(f)
	if err != nil {
		return nil, fmt.Errorf("%s: reading %s: %w", f.Name(), ima.XattrName, err)
	}
	if v, err := ima.Parse(present); err == nil && len(present) == n && v.Hash == o.Hash && (v.KeyID == o.KeyID || !v.IsSignature()) {
		return nil, nil
	}
	return make([]byte, n), nil
}

func (t *Tree) space() ([]Space, error) {
	var spaces []Space
	for i, e := range t.edits {
		s := t.systems[i]
		needed, free, err := e.NewBlocks()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Volume, err)
		}
		spaces = append(spaces, Space{s.Volume, s.Info().BlockSize, needed, free})
		if needed > free {
			return spaces, &NoSpaceError{spaces[len(spaces)-1]}
		}
	}
	return spaces, nil
}

// NoSpaceError says that a file system is too full for the labels.
type NoSpaceError struct {
	Space
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s: the labels need %d new blocks of %d bytes, but %d are free",
		e.Volume, e.Needed, e.BlockSize, e.Free)
}
