package signer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vmseal/vmseal/formats/ima"
)

// ErrFileID says of a file that it must not be signed.
var ErrFileID = errors.New("not signed: its contents have the form of what is signed for a file under fs-verity or by version 3, " +
	"and a signature over them would be good for such a file, too")

// Sign labels the files of a tree. It reads them in the tree's order, and signs
// what it has read while it reads on.
//
// With an error the tree was not committed and the report is nil. Errors of
// single files that Options.KeepGoing let pass are in the report, and so is ErrFileID of
// files, whose labels are left as they are.
func Sign(ctx context.Context, t Tree, o Options) (*Report, error) {
	lab, err := NewLabeller(o)
	if err != nil {
		return nil, err
	}
	r := &signing{
		tree:   t,
		opt:    o,
		labels: &distinct{Labeller: lab, digests: make(map[string]*pending)},
		meter:  &meter{call: o.Progress},

		longest: max(o.ValueSize(), o.digestLabelSize()),
	}
	r.meter.start(PhaseList, 0, 0)
	files, failures, err := list(ctx, t, o.KeepGoing, o.Listed)
	if err != nil {
		return nil, err
	}
	r.plan(files)
	if err := r.work(ctx); err != nil {
		return nil, err
	}
	if !o.DryRun {
		r.meter.enter(PhaseCommit)
		if err := t.Commit(ctx); err != nil {
			return nil, fmt.Errorf("committing labels: %w", err)
		}
	}
	return r.report(failures), nil
}

// list gives the files and what was amiss in listing them. Whoever wants to may look at
// them first.
func list(ctx context.Context, t Tree, keepGoing bool, listed func([]File) error) ([]File, []Failure, error) {
	var failures []Failure
	files, err := t.Files(ctx)
	if inc, ok := errors.AsType[*IncompleteError](err); ok && keepGoing && ctx.Err() == nil {
		failures, err = inc.Failures, nil
	}
	if err == nil && listed != nil {
		err = listed(files)
	}
	if err != nil {
		return nil, nil, err
	}
	return files, failures, nil
}

// signing is one run of Sign.
type signing struct {
	tree    Tree
	opt     Options
	labels  *distinct
	meter   *meter
	longest int // of all labels that may be set
	records []Record
	errs    []error // by file, where it failed

	next    atomic.Int64  // the file to be read next
	pending chan *pending // digests that wait for a label
	settled chan int      // files whose record is complete
}

// plan makes the records and decides on actions.
func (r *signing) plan(files []File) {
	r.records = make([]Record, len(files))
	r.errs = make([]error, len(files))
	n, bytes := 0, int64(0)
	for i := range files {
		r.records[i] = Record{File: &files[i], Action: r.opt.action(&files[i])}
		if r.records[i].Action != ActionSkip {
			n++
			bytes += files[i].Size
		}
	}
	r.meter.start(PhaseSign, n, bytes)
}

// work runs the readers, the signers and, in the order of the files, the setter
// of labels. Readers may be ahead of signers by a few files: enough to bridge a
// wait for the disk.
func (r *signing) work(ctx context.Context) error {
	n := jobs(r.opt.Jobs, len(r.records))
	r.pending = make(chan *pending, 16*n)
	r.settled = make(chan int, 16*n)

	g, ctx := errgroup.WithContext(ctx)
	var readers sync.WaitGroup
	for range n {
		readers.Add(1)
		g.Go(func() error {
			defer readers.Done()
			return r.read(ctx)
		})
		g.Go(func() error { return r.sign(ctx) })
	}
	g.Go(func() error {
		readers.Wait()
		close(r.pending)
		return nil
	})
	g.Go(func() error { return inOrder(ctx, len(r.records), r.settled, r.set) })
	return g.Wait()
}

// read takes file after file until none is left.
func (r *signing) read(ctx context.Context) error {
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.records) {
			return nil
		}
		if err := r.readOne(ctx, i); err != nil {
			return err
		}
	}
}

// readOne digests a file and passes it on: to the setter if its label is known
// by now, else to the signers.
func (r *signing) readOne(ctx context.Context, i int) error {
	rec := &r.records[i]
	if rec.Action == ActionSkip {
		rec.Outcome = Skipped
		return send(ctx, r.settled, i)
	}
	present, err := r.tree.Label(rec.File)
	if err != nil {
		return r.fail(ctx, i, fmt.Errorf("reading the label: %w", err))
	}
	rec.Other = idOfOther(present, r.opt.KeyID)
	kept, err := r.digest(ctx, rec, present)
	if err != nil {
		return r.fail(ctx, i, err)
	}
	if kept {
		rec.settle(present, label{present, Kept})
		return send(ctx, r.settled, i)
	}
	if len(present) > r.longest {
		present = nil // not one to be kept, and not worth its memory
	}
	if rec.Action == ActionHash {
		value, err := r.labels.DigestLabel(rec.Digest)
		if err != nil {
			return err
		}
		rec.settle(present, label{value, Hashed})
		return send(ctx, r.settled, i)
	}
	p, first := r.labels.join(rec.Digest, waiting{i, present})
	switch {
	case first:
		return send(ctx, r.pending, p)
	case p == nil: // will be settled with the others of its digest
		return nil
	}
	r.settleSigned(waiting{i, present}, p.label)
	return send(ctx, r.settled, i)
}

// digest reads the contents, and tells whether they are those of a signature that is to
// be left alone. A file that must not be signed has no digest.
func (r *signing) digest(ctx context.Context, rec *Record, present []byte) (kept bool, err error) {
	var short bytes.Buffer // contents that have to be looked at
	also := io.Discard
	if rec.Action == ActionSign && rec.File.Size <= ima.MaxFileID {
		also = &short
	}
	hashes := []crypto.Hash{r.opt.Hash.CryptoHash()}
	v, may := MayKeep(present, r.opt.KeepValid)
	if may && v.Hash != r.opt.Hash {
		hashes = append(hashes, v.Hash.CryptoHash())
	}
	digests, err := digestFile(ctx, r.tree, rec.File, r.meter, also, hashes...)
	if err != nil {
		return false, fmt.Errorf("reading: %w", err)
	}
	rec.Digest = digests[0]
	if may {
		_, err := r.opt.KeepValid.Verify(v, digests[len(digests)-1])
		kept = err == nil
	}
	if !kept && ima.IsFileID(short.Bytes()) {
		return false, ErrFileID
	}
	return kept, nil
}

// sign makes the labels of digests until the readers have no more.
func (r *signing) sign(ctx context.Context) error {
	for {
		select {
		case p, ok := <-r.pending:
			if !ok {
				return nil
			}
			if err := r.labels.make(p); err != nil {
				return err
			}
			for _, w := range r.labels.finish(p) {
				r.settleSigned(w, p.label)
				if err := send(ctx, r.settled, w.file); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settleSigned completes the record of a file to be signed. In a dry run the
// label may be unknown; then only the file itself can say that it needs none.
func (r *signing) settleSigned(w waiting, l label) {
	rec := &r.records[w.file]
	if l.value == nil && r.labels.Right(w.present, rec.Digest) {
		l.value = w.present
	}
	rec.settle(w.present, l)
}

// set hands a finished label to the tree.
func (r *signing) set(i int) error {
	rec := &r.records[i]
	switch rec.Outcome {
	case Skipped:
		return nil
	case Signed, Reused, Hashed, Replaced:
		if r.opt.DryRun {
			break
		}
		if err := r.tree.SetLabel(rec.File, rec.Value); err != nil {
			if err := r.note(i, fmt.Errorf("setting the label: %w", err)); err != nil {
				return err
			}
		}
	}
	r.meter.file()
	return nil
}

// fail records the error of one file, or returns it if it ends the run.
func (r *signing) fail(ctx context.Context, i int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.note(i, err); err != nil {
		return err
	}
	return send(ctx, r.settled, i)
}

func (r *signing) note(i int, err error) error {
	rec := &r.records[i]
	if ends(err, r.opt.KeepGoing) {
		return Failure{rec.File.Name(), err}
	}
	r.errs[i] = err
	rec.Outcome, rec.Digest, rec.Value = Failed, nil, nil
	return nil
}

// ends reports whether the error of one file ends the run. A file that must not be signed holds up
// no other.
func ends(err error, keepGoing bool) bool {
	_, fatal := errors.AsType[*FatalError](err)
	return fatal || !keepGoing && !errors.Is(err, ErrFileID)
}

// report sums up.
func (r *signing) report(failures []Failure) *Report {
	for i, err := range r.errs {
		if err != nil {
			failures = append(failures, Failure{r.records[i].File.Name(), err})
		}
	}
	rep := &Report{
		Records:    r.records,
		Failures:   failures,
		Signatures: r.labels.signatures,
	}
	rep.count()
	return rep
}
