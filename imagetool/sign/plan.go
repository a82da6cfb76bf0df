package sign

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// A planned is what signing an image will do to its file systems.
type planned struct {
	tree    *imagetool.Tree
	changed []*signer.File // that get another label, as far as can be told without reading them
}

// plan finds out, before any work is done, which labels have to be written: it stages
// values of the right length.
func plan(ctx context.Context, m *imagetool.Image, o *Options, opt fsys.EditOptions) (*planned, error) {
	p := &planned{tree: m.Tree(opt)}
	if !o.AllowSparse {
		p.tree.Bound(func(paths []string) signer.Action { return o.Action(p.tree.Plain(paths)) })
	}
	files, err := p.tree.Files(ctx)
	if err != nil {
		return nil, err
	}
	if err := listed(p.tree, files, o); err != nil {
		return nil, err
	}
	for i := range files {
		value, err := placeholder(p.tree, &files[i], &o.Options)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if err := p.tree.SetLabel(&files[i], value); err != nil {
			return nil, fmt.Errorf("%s: %w", files[i].Name(), err)
		}
		p.changed = append(p.changed, &files[i])
	}
	return p, nil
}

// listed shows the files to whoever wants to see them, under plain paths.
func listed(t *imagetool.Tree, files []signer.File, o *Options) error {
	if o.Listed == nil {
		return nil
	}
	plain := slices.Clone(files)
	for i := range plain {
		plain[i].Paths = t.Plain(plain[i].Paths)
	}
	return o.Listed(plain)
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
	if _, kept := signer.MayKeep(present, o.KeepValid); kept {
		return nil, nil
	}
	if v, err := ima.Parse(present); err == nil && len(present) == n && v.Hash == o.Hash && (v.KeyID == o.KeyID || !v.IsSignature()) {
		return nil, nil
	}
	return make([]byte, n), nil
}
