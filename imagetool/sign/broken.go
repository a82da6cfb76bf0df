package sign

import (
	"context"
	"iter"
	"slices"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/seals"
	"github.com/vmseal/vmseal/signer"
)

// broken lists the seals that would hold no more. An image that was signed first and
// sealed then has nothing that would change: the files themselves say so, where the plan
// found no more than that their labels look right.
func (p *planned) broken(ctx context.Context, img *imagetool.Image, o *Options, edit fsys.EditOptions) ([]seals.Seal, error) {
	all, err := p.seals(ctx, img)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if broken := seals.Broken(all, places(p.tree, slices.Values(p.changed))); len(broken) > 0 {
		return broken, nil
	}
	dry := o.Options
	dry.DryRun = true
	t := img.Tree(edit)
	report, err := signTree(ctx, t, dry)
	if err != nil {
		return nil, err
	}
	return seals.Broken(all, places(t, labelled(report))), nil
}

// seals lists those that cover anything of what is to be signed.
func (p *planned) seals(ctx context.Context, img *imagetool.Image) ([]seals.Seal, error) {
	all, err := seals.OverVolumes(ctx, img)
	if err != nil {
		return nil, err
	}
	for i, s := range p.tree.Systems() {
		found, err := seals.OverFiles(ctx, s, p.tree.Listed(i))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return slices.DeleteFunc(all, func(s seals.Seal) bool {
		return !slices.ContainsFunc(p.tree.Systems(), func(fs *imagetool.FileSystem) bool { return s.Covers(fs.Volume.ID) })
	}), nil
}

// places tells where files lie.
func places(t *imagetool.Tree, files iter.Seq[*signer.File]) iter.Seq2[volume.ID, []string] {
	return func(yield func(volume.ID, []string) bool) {
		for f := range files {
			if !yield(t.Systems()[t.System(f)].Volume.ID, t.Plain(f.Paths)) {
				return
			}
		}
	}
}

// labelled are the files that a run gave another label, or in a dry run would give one.
func labelled(r *signer.Report) iter.Seq[*signer.File] {
	return func(yield func(*signer.File) bool) {
		for i := range r.Records {
			switch r.Records[i].Outcome {
			case signer.Failed, signer.Skipped, signer.Kept:
			default:
				if !yield(r.Records[i].File) {
					return
				}
			}
		}
	}
}
