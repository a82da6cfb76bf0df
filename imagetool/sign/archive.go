package sign

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/archive/stream"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer"
)

// ArchiveOptions tell Archive what to do. Of Options, what belongs to images alone does not
// count.
type ArchiveOptions struct {
	Options

	In     io.Reader
	File   *hostfile.File // what In reads; nil for a pipe
	Stdout io.Writer      // where the archive goes instead of Out; nil if it does not

	Result func(*signer.Report) error // as in stream.SignOptions
	Other  func(*archive.Member)
	Ended  func() error
}

// Archive writes a signed copy of a tar archive. An error leaves nothing at Out; what went
// to Stdout is without its end.
func Archive(ctx context.Context, o ArchiveOptions) (*signer.Report, error) {
	a := &archiving{opt: &o, before: sha256.New(), after: sha256.New()}
	if o.DryRun {
		return a.sign(ctx, io.Discard)
	}
	if err := a.open(); err != nil {
		return nil, errors.Join(err, a.abort())
	}
	report, err := a.write(ctx)
	if err != nil {
		return nil, errors.Join(err, a.abort())
	}
	return report, nil
}

// archiving is one run of Archive.
type archiving struct {
	opt           *ArchiveOptions
	staged        *output.Staged // the copy of a file
	piped         *output.File   // the copy of what came through a pipe
	list          *manifestFile
	names         stream.Names[*signer.Record] // with a manifest
	before, after hash.Hash                    // with a manifest
}

func (a *archiving) open() (err error) {
	o := a.opt
	if o.Manifest != "" && o.Out != "" && samePath(o.Manifest, o.Out) {
		return fmt.Errorf("%s: two outputs cannot have the same name", o.Out)
	}
	if o.Manifest != "" && o.File != nil {
		if err := output.Check(o.File, o.Manifest, o.Force); err != nil {
			return err
		}
	}
	switch {
	case o.Stdout != nil:
	case o.File != nil:
		a.staged, err = output.StageEmpty(o.File, o.Out, o.Force)
	default:
		a.piped, err = output.Create(o.Out, 0o666, o.Force)
	}
	if err == nil && o.Manifest != "" {
		a.list, err = newManifest(&o.Options)
	}
	return err
}

func (a *archiving) out() io.Writer {
	switch {
	case a.opt.Stdout != nil:
		return a.opt.Stdout
	case a.staged != nil:
		return a.staged.File()
	}
	return a.piped
}

func (a *archiving) write(ctx context.Context) (*signer.Report, error) {
	w := bufio.NewWriterSize(a.out(), 256<<10)
	report, err := a.sign(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := a.writeManifest(); err != nil {
		return nil, err
	}
	with := a.list.outputs()
	switch {
	case a.staged != nil:
		return report, a.staged.Commit(ctx, with...)
	case a.piped != nil:
		with = append(with, a.piped)
	}
	return report, output.Commit(func() error {
		if a.opt.File != nil {
			if err := a.opt.File.Unchanged(); err != nil {
				return err
			}
		}
		return ctx.Err()
	}, with...)
}

func (a *archiving) sign(ctx context.Context, w io.Writer) (*signer.Report, error) {
	o := a.opt
	in := o.In
	if a.list != nil {
		in, w = io.TeeReader(in, a.before), io.MultiWriter(w, a.after)
	}
	return stream.Sign(ctx, in, w, stream.SignOptions{
		Options: o.Options.Options, DropEVM: o.DropEVM, AllowSparse: o.AllowSparse, Ended: o.Ended,
		Result: func(r *signer.Report) error {
			if a.list != nil {
				a.names.Add(r.Records[0].File, &r.Records[0])
			}
			if o.Result == nil {
				return nil
			}
			return o.Result(r)
		},
		Other: func(m *archive.Member) {
			if a.list != nil {
				a.names.Other(m)
			}
			if o.Other != nil {
				o.Other(m)
			}
		},
	})
}

// writeManifest lists the files that are there once the archive is unpacked.
func (a *archiving) writeManifest() error {
	if a.list == nil {
		return nil
	}
	h := &a.list.header
	h.ImageBefore, h.ImageAfter = hex.EncodeToString(a.before.Sum(nil)), hex.EncodeToString(a.after.Sum(nil))
	h.Filesystems = []manifest.Filesystem{{Partition: volume.WholeDisk}}
	var entries []manifest.Entry
	for _, f := range a.names.Files() {
		entries = appendEntries(entries, f.Of, 0, f.File.Paths)
	}
	return a.list.writeEntries(entries)
}

func (a *archiving) abort() error {
	err := a.list.abort()
	if a.staged != nil {
		err = errors.Join(err, a.staged.Abort())
	}
	if a.piped != nil {
		err = errors.Join(err, a.piped.Abort())
	}
	return err
}
