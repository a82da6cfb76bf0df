package stream

import (
	"context"
	"io"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
)

// VerifyOptions tell Verify what to do. Of the options of package signer KeepGoing, Jobs and
// Listed do not count.
type VerifyOptions struct {
	signer.VerifyOptions

	AllowSparse bool // as in SignOptions

	// Only says which files are looked at. Nil looks at all of them.
	Only func(path string) bool
	// Other is as in SignOptions.
	Other func(*archive.Member)
}

// Verify checks the label of each file. A label that was made for other contents is told as
// such: whose they are is not remembered.
func Verify(ctx context.Context, in io.Reader, trust *keys.TrustStore, o VerifyOptions) (*signer.VerifyReport, error) {
	if o.Action == nil {
		o.Action = func([]string) signer.Action { return signer.ActionSign }
	}
	r := newMembers(contextReader{ctx, in}, o.Action, o.AllowSparse)
	report := &signer.VerifyReport{}
	one := o.VerifyOptions
	one.Jobs, one.KeepGoing, one.Listed, one.Progress = 1, true, nil, nil
	for {
		m, err := r.next()
		if isEnd(err) {
			return report, r.CopyEnd(io.Discard)
		} else if err != nil {
			return nil, err
		}
		switch {
		case !m.IsFile():
			if o.Other != nil {
				o.Other(m)
			}
		case o.Only == nil || o.Only(m.Path()):
			t := &single{member: m, file: r.file(m), label: m.Label, data: func() (io.Reader, error) { return r, nil }}
			found, err := signer.Verify(ctx, t, trust, one)
			if err != nil {
				return nil, err
			}
			report.Merge(found)
		}
		if o.Progress != nil {
			o.Progress(signer.Progress{Phase: signer.PhaseVerify, Bytes: r.Offset()})
		}
	}
}
