package signer

import (
	"context"
	"crypto"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vmseal/vmseal/keys"
)

// VerifyOptions tell Verify what to do.
type VerifyOptions struct {
	// Action says what is wanted of a file, by its names. Nil wants a signature
	// of everything.
	Action func(paths []string) Action

	// Listed is as in Options.
	Listed func([]File) error

	// Contents asks for a digest of every file by this hash, whatever its label is
	// like. 0 asks for none.
	Contents crypto.Hash

	// Jobs is how many files are read at a time; 0 as in Options.
	Jobs int

	// KeepGoing makes a finding of a file that cannot be read. Without it that
	// ends the run.
	KeepGoing bool

	// Result is called for each file, from one goroutine at a time, in the order
	// of Tree.Files; but labels that were made for other contents come last,
	// because only then is it known which file has these. An error ends the run.
	// The finding may be kept. May be nil.
	Result func(*Finding) error

	// Progress is called often, from one goroutine at a time. May be nil.
	Progress func(Progress)
}

// Verify checks the label of every file against the keys of the store; nil has none. What is
// wrong with labels is in the findings; the error is for what kept Verify from
// looking.
func Verify(ctx context.Context, t Tree, trust *keys.TrustStore, o VerifyOptions) (*VerifyReport, error) {
	v := &verification{tree: t, trust: trust, opt: o, meter: &meter{call: o.Progress}}
	v.meter.start(PhaseList, 0, 0)
	files, failures, err := list(ctx, t, o.KeepGoing, o.Listed)
	if err != nil {
		return nil, err
	}
	v.report.Failures = failures
	v.plan(files)
	if err := v.work(ctx); err != nil {
		return nil, err
	}
	if err := v.emitLate(); err != nil {
		return nil, err
	}
	return &v.report, nil
}

// verification is one run of Verify.
type verification struct {
	tree     Tree
	trust    *keys.TrustStore
	opt      VerifyOptions
	meter    *meter
	findings []*Finding // by file; nil once it is told
	next     atomic.Int64
	report   VerifyReport
	late     []*Finding
	twins    map[string]*File // the first file of each digest
}

func (v *verification) plan(files []File) {
	v.findings = make([]*Finding, len(files))
	v.twins = make(map[string]*File, len(files))
	n, bytes := 0, int64(0)
	for i := range files {
		action := ActionSign
		if v.opt.Action != nil {
			action = v.opt.Action(files[i].Paths)
		}
		v.findings[i] = &Finding{File: &files[i], Action: action}
		if action != ActionSkip {
			n++
			bytes += files[i].Size
		}
	}
	v.meter.start(PhaseVerify, n, bytes)
}

func (v *verification) work(ctx context.Context) error {
	n := jobs(v.opt.Jobs, len(v.findings))
	done := make(chan int, 16*n)
	g, ctx := errgroup.WithContext(ctx)
	for range n {
		g.Go(func() error {
			for {
				i := int(v.next.Add(1)) - 1
				if i >= len(v.findings) {
					return nil
				}
				if err := v.check(ctx, v.findings[i]); err != nil {
					return err
				}
				if err := send(ctx, done, i); err != nil {
					return err
				}
			}
		})
	}
	g.Go(func() error { return inOrder(ctx, len(v.findings), done, v.emit) })
	return g.Wait()
}

// check fills in one finding.
func (v *verification) check(ctx context.Context, f *Finding) error {
	if f.Action == ActionSkip {
		f.Verdict = Ignored
		return nil
	}
	defer v.meter.file()
	err := v.examine(ctx, f)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ends(err, v.opt.KeepGoing) {
		return Failure{f.File.Name(), err}
	}
	f.Verdict, f.Err = Unreadable, err
	return nil
}

// emit tells a finding, or puts it off until all contents are known.
func (v *verification) emit(i int) error {
	f := v.findings[i]
	v.findings[i] = nil
	if f.Digest != nil {
		if _, ok := v.twins[string(f.Digest)]; !ok {
			v.twins[string(f.Digest)] = f.File
		}
	}
	if f.Reason == ReasonContent {
		v.late = append(v.late, f)
		return nil
	}
	return v.tell(f)
}

func (v *verification) emitLate() error {
	for _, f := range v.late {
		if twin, ok := v.twins[string(f.Signed)]; ok {
			f.Twin = twin
			f.invalid(ReasonOtherFile, "label was made for the contents of %s", twin.Name())
		}
		if err := v.tell(f); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) tell(f *Finding) error {
	v.report.Add(f)
	if v.opt.Result == nil {
		return nil
	}
	if err := v.opt.Result(f); err != nil {
		return fmt.Errorf("reporting %s: %w", f.File.Name(), err)
	}
	return nil
}
