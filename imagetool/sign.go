package imagetool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer"
)

// SignOptions tell Sign what to do. The options of package signer are meant for
// one image here: KeepGoing is ignored, and Action sees plain paths.
type SignOptions struct {
	signer.Options

	Out      string         // the signed copy; not needed for a dry run
	InPlace  bool           // change the image itself, which was opened for writing
	Manifest string         // where to write the manifest; "" for none
	Profile  string         // where to write the profile of the kernel; "" for none
	Kernel   string         // which kernel that is, as for Image.Kernel
	Policy   *policy.Policy // that the kernel is to load; counts with Profile only
	Force    bool           // replace what is at Out, Manifest and Profile
	Tool     string         // name and version, for the manifest

	Time    *time.Time // ctime of the inodes that change; nil leaves it alone
	DropEVM bool       // remove security.evm where it is in the way

	AllowSparse bool // read files that are far larger than their file system

	// Hold is called before an image is changed in place; what it returns is called
	// afterwards. In between the process had better not be killed.
	Hold func() (release func())
}

func (o *SignOptions) hold() (release func()) {
	if o.Hold == nil {
		return func() {}
	}
	return o.Hold()
}

// SignResult is what Sign did, or in a dry run would do.
type SignResult struct {
	Report *signer.Report
	Spaces []Space // of each file system
	KeyID  ima.KeyID
	Hash   ima.HashID
	Sealed *Sealed // nil if no profile was wanted
}

// Sign writes a signed copy of the image, or changes the image in place. An error
// leaves nothing behind, and the image as it was, unless it is a *undo.CutShortError; see
// output.Commit for what it may have replaced.
func (m *Image) Sign(ctx context.Context, o SignOptions) (*SignResult, error) {
	o.KeepGoing = false
	if o.Action == nil {
		o.Action = func([]string) signer.Action { return signer.ActionSign }
	}
	edit := fsys.EditOptions{Time: o.Time, DropEVM: o.DropEVM}
	if err := m.checkOutputs(&o); err != nil {
		return nil, err
	}
	sealed, err := m.seal(&o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	spaces, err := m.plan(ctx, &o, edit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	result := &SignResult{Spaces: spaces, KeyID: o.KeyID, Hash: o.Hash, Sealed: sealed}
	switch {
	case o.DryRun:
		result.Report, err = m.Tree(edit).sign(ctx, o.Options)
	case o.InPlace:
		result.Report, err = m.signInPlace(ctx, &o, edit, sealed)
	default:
		result.Report, err = m.signCopy(ctx, &o, edit, sealed)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// checkOutputs refuses outputs before any work goes into them.
func (m *Image) checkOutputs(o *SignOptions) error {
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
		if err := m.CheckOutput(out, o.Force); err != nil {
			return err
		}
		if slices.ContainsFunc(outputs[:i], func(other string) bool { return samePath(out, other) }) {
			return fmt.Errorf("%s: two outputs cannot have the same name", out)
		}
	}
	return nil
}

// seal makes the profile, if one is wanted. Signing changes nothing that is in it.
func (m *Image) seal(o *SignOptions) (*Sealed, error) {
	if o.Profile == "" || o.DryRun {
		return nil, nil
	}
	k, err := m.Kernel(o.Kernel)
	if err != nil {
		return nil, err
	}
	return SealKernel(k, o.Policy, o.Options)
}

func (m *Image) signCopy(ctx context.Context, o *SignOptions, edit fsys.EditOptions, sealed *Sealed) (*signer.Report, error) {
	staged, err := output.Stage(ctx, m.file, o.Out, o.Force, copyProgress(o.Progress, m.Size()))
	if err != nil {
		return nil, err
	}
	report, outputs, err := m.signStaged(ctx, staged, o, edit, sealed)
	if err != nil {
		return nil, errors.Join(err, staged.Abort())
	}
	if err := staged.Commit(ctx, outputs...); err != nil {
		return nil, err
	}
	return report, nil
}

// signStaged works on the copy alone. The outputs it returns are written, but do
// not have their names yet.
func (m *Image) signStaged(ctx context.Context, staged *output.Staged, o *SignOptions, edit fsys.EditOptions, sealed *Sealed) (*signer.Report, []*output.File, error) {
	copied := digested{staged.Device(), "the copy of " + m.Path()}
	list, err := createManifest(ctx, copied, o)
	if err != nil {
		return nil, nil, err
	}
	report, t, err := m.labelStaged(ctx, staged, o, edit)
	if err != nil {
		return nil, nil, errors.Join(err, list.abort())
	}
	outputs, err := finishOutputs(ctx, copied, o, list, t, report, sealed)
	return report, outputs, err
}

func (m *Image) labelStaged(ctx context.Context, staged *output.Staged, o *SignOptions, edit fsys.EditOptions) (*signer.Report, *Tree, error) {
	t := &Tree{opt: edit}
	for _, s := range m.Systems {
		fs, err := openSystem(s.Volume, staged.Device())
		if err != nil {
			return nil, nil, fmt.Errorf("copy of %s: %s: %w", m.Path(), s.Volume, err)
		}
		t.systems = append(t.systems, fs)
	}
	t.commit = func(ctx context.Context, txs []fsys.Transaction) error {
		for _, c := range changes(t.systems, txs) {
			if err := c.Commit(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	report, err := t.sign(ctx, o.Options)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	return report, t, nil
}

// finishOutputs writes what there is to be besides the image, short of the names.
func finishOutputs(ctx context.Context, image digester, o *SignOptions, list *manifestFile, t *Tree, report *signer.Report, sealed *Sealed) ([]*output.File, error) {
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

func (t *Tree) sign(ctx context.Context, o signer.Options) (*signer.Report, error) {
	action := o.Action
	o.Action = func(paths []string) signer.Action { return action(t.Plain(paths)) }
	return signer.Sign(ctx, t, o)
}

func copyProgress(call func(signer.Progress), size int64) func(int64) {
	if call == nil {
		return nil
	}
	return func(done int64) { call(signer.Progress{Phase: signer.PhaseCopy, Bytes: done, TotalBytes: size}) }
}
