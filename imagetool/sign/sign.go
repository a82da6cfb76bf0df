package sign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/profile"
	"github.com/vmseal/vmseal/imagetool/seals"
	"github.com/vmseal/vmseal/signer"
)

// Options tell Image what to do. The options of package signer are meant for
// one image here: KeepGoing is ignored, Action and Listed see plain paths, and Listed is
// called before anything is copied.
type Options struct {
	signer.Options

	Out      string         // the signed copy; not needed for a dry run
	InPlace  bool           // change the image itself, which was opened for writing
	Manifest string         // where to write the manifest; "" for none
	Profile  string         // where to write the profile of the kernel; "" for none
	Kernel   string         // which kernel that is, as for profile.FindKernel
	Policy   *policy.Policy // that the kernel is to load; counts with Profile only
	Unlocked bool           // the kernel does not need to be locked down; counts with Profile only
	Force    bool           // replace what is at Out, Manifest and Profile
	Tool     string         // name and version, for the manifest

	Time    *time.Time // ctime of the inodes that change; nil leaves it alone
	DropEVM bool       // remove security.evm where it is in the way

	AllowSparse bool // read files that are far larger than their file system
	BreakSeals  bool // sign also what other integrity layers cover

	// Hold is called before an image is changed in place; what it returns is called
	// afterwards. In between the process had better not be killed.
	Hold func() (release func())
}

func (o *Options) hold() (release func()) {
	if o.Hold == nil {
		return func() {}
	}
	return o.Hold()
}

// A Result is what Image did, or in a dry run would do.
type Result struct {
	Report *signer.Report
	Spaces []imagetool.Space // of each file system
	KeyID  ima.KeyID
	Hash   ima.HashID
	Sealed *profile.Sealed // nil if no profile was wanted
	Broken []seals.Seal    // that hold no more, or in a dry run would not
}

// Image writes a signed copy of the image, or changes the image in place. An error
// leaves nothing behind, and the image as it was, unless it is a *undo.CutShortError; see
// output.Commit for what it may have replaced.
func Image(ctx context.Context, img *imagetool.Image, o Options) (*Result, error) {
	o.KeepGoing = false
	if o.Action == nil {
		o.Action = func([]string) signer.Action { return signer.ActionSign }
	}
	edit := fsys.EditOptions{Time: o.Time, DropEVM: o.DropEVM}
	if err := checkOutputs(img, &o); err != nil {
		return nil, err
	}
	sealed, err := seal(img, &o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", img.Path(), err)
	}
	result := &Result{KeyID: o.KeyID, Hash: o.Hash, Sealed: sealed}
	if err := foresee(ctx, img, &o, edit, result); err != nil {
		return nil, fmt.Errorf("%s: %w", img.Path(), err)
	}
	if o.DryRun {
		result.Report, err = signTree(ctx, img.Tree(edit), o.Options)
	} else {
		result.Report, err = write(ctx, img, &o, edit, sealed)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// foresee refuses, before any work is done, what signing would break, and labels for
// which there is no room.
func foresee(ctx context.Context, img *imagetool.Image, o *Options, edit fsys.EditOptions, r *Result) error {
	p, err := plan(ctx, img, o, edit)
	if err != nil {
		return err
	}
	if r.Broken, err = p.broken(ctx, img, o, edit); err != nil {
		return err
	}
	if len(r.Broken) > 0 && !o.BreakSeals {
		return &seals.BrokenError{Seals: r.Broken}
	}
	r.Spaces, err = p.tree.Space()
	return err
}

// A target is what labels are written to: a copy of the image, or the image itself.
// Commit or Abort ends it.
type target interface {
	Tree(fsys.EditOptions) (*imagetool.Tree, error)
	SHA256(context.Context) ([]byte, error)
	Commit(ctx context.Context, with ...*output.File) error
	Abort(cause error) error
}

func open(ctx context.Context, img *imagetool.Image, o *Options) (target, error) {
	progress := copyProgress(o.Progress, img.FileSize())
	switch {
	case o.InPlace && img.InContainer():
		return img.CarryInto(ctx, o.hold, progress)
	case o.InPlace:
		return img.InPlace(o.hold)
	}
	return img.Copy(ctx, o.Out, o.Force, progress)
}

// write signs the copy, or the image itself, and gives all that belongs together its
// names at once.
func write(ctx context.Context, img *imagetool.Image, o *Options, edit fsys.EditOptions, sealed *profile.Sealed) (*signer.Report, error) {
	to, err := open(ctx, img, o)
	if err != nil {
		return nil, err
	}
	report, outputs, err := label(ctx, img.Path(), to, o, edit, sealed)
	if err != nil {
		return nil, to.Abort(err)
	}
	if err := to.Commit(ctx, outputs...); err != nil {
		return nil, err
	}
	return report, nil
}

// label works on the target alone. The outputs it returns are written, but do not have
// their names yet.
func label(ctx context.Context, path string, to target, o *Options, edit fsys.EditOptions, sealed *profile.Sealed) (*signer.Report, []*output.File, error) {
	list, err := createManifest(ctx, to, o)
	if err != nil {
		return nil, nil, err
	}
	t, err := to.Tree(edit)
	if err != nil {
		return nil, nil, errors.Join(err, list.abort())
	}
	report, err := signTree(ctx, t, o.Options)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), list.abort())
	}
	outputs, err := finishOutputs(ctx, to, o, list, t, report, sealed)
	return report, outputs, err
}

// signTree lets the action see plain paths. The plan has listed the files.
func signTree(ctx context.Context, t *imagetool.Tree, o signer.Options) (*signer.Report, error) {
	action := o.Action
	o.Listed = nil
	o.Action = func(paths []string) signer.Action { return action(t.Plain(paths)) }
	return signer.Sign(ctx, t, o)
}

func copyProgress(call func(signer.Progress), size int64) func(int64) {
	if call == nil {
		return nil
	}
	return func(done int64) { call(signer.Progress{Phase: signer.PhaseCopy, Bytes: done, TotalBytes: size}) }
}
