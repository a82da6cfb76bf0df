package sign

import (
	"context"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// plan finds out, before any work is done, whether every label can be written:
// it stages values of the right length and counts the blocks that they need.
func plan(ctx context.Context, m *imagetool.Image, o *Options, opt fsys.EditOptions) ([]imagetool.Space, error) {
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
	return t.Space()
}

// placeholder is as long as the label that the file will get. It is nil if the
// file will get none, or most likely keep the one that it has; where that turns
// out wrong, Commit still counts what it writes.
func placeholder(t *imagetool.Tree, f *signer.File, o *signer.Options) ([]byte, error) {
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
