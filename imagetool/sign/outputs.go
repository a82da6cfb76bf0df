package sign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/profile"
	"github.com/vmseal/vmseal/signer"
)

// checkOutputs refuses outputs before any work goes into them.
func checkOutputs(img *imagetool.Image, o *Options) error {
	if o.DryRun {
		return nil
	}
	var outputs []string
	for _, out := range []string{o.Out, o.Manifest, o.Profile} {
		if out != "" {
			outputs = append(outputs, out)
		}
	}
	for i, out := range outputs {
		if err := img.CheckOutput(out, o.Force); err != nil {
			return err
		}
		if slices.ContainsFunc(outputs[:i], func(other string) bool { return samePath(out, other) }) {
			return fmt.Errorf("%s: two outputs cannot have the same name", out)
		}
	}
	return nil
}

// seal makes the profile, if one is wanted. Signing changes nothing that is in it.
func seal(img *imagetool.Image, o *Options) (*profile.Sealed, error) {
	if o.Profile == "" || o.DryRun {
		return nil, nil
	}
	k, err := profile.FindKernel(img, o.Kernel)
	if err != nil {
		return nil, err
	}
	return profile.Seal(k, profile.Boot{Policy: o.Policy, NoLockdown: o.Unlocked}, o.Options)
}

// finishOutputs writes what there is to be besides the image, short of the names.
func finishOutputs(ctx context.Context, image target, o *Options, list *manifestFile, t *imagetool.Tree, report *signer.Report, sealed *profile.Sealed) ([]*output.File, error) {
	if err := list.write(ctx, image, t, report); err != nil {
		return nil, errors.Join(err, list.abort())
	}
	outputs := list.outputs()
	if sealed != nil {
		out, err := sealed.Output(o.Profile, o.Force)
		if err != nil {
			return nil, errors.Join(err, list.abort())
		}
		outputs = append(outputs, out)
	}
	return outputs, nil
}

// samePath reports whether two names, of which neither need exist, are the same.
func samePath(a, b string) bool {
	if filepath.Base(a) != filepath.Base(b) {
		return false
	}
	x, errX := os.Stat(filepath.Dir(a))
	y, errY := os.Stat(filepath.Dir(b))
	return errX == nil && errY == nil && os.SameFile(x, y)
}
