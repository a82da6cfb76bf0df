package stream

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// SignOptions tell Sign what to do. Of the options of package signer KeepGoing and Listed
// do not count.
type SignOptions struct {
	signer.Options

	DropEVM     bool // remove security.evm where it is in the way
	AllowSparse bool // read files that are far larger than the archive

	// Result is called for each file, in the order of the archive, with the report on it
	// alone; an error ends the run. May be nil.
	Result func(*signer.Report) error
	// Other is called for each member that is no file of its own, in the same order. May
	// be nil.
	Other func(*archive.Member)
	// Ended is called before the end of the archive is written; an error keeps it from
	// being so. May be nil.
	Ended func() error
}

// Sign writes the archive with labels to out. Its report has the sums alone; how many
// digests are distinct it does not know. After an error what was written is no archive: its
// end is missing.
func Sign(ctx context.Context, in io.Reader, out io.Writer, o SignOptions) (*signer.Report, error) {
	if o.Action == nil {
		o.Action = func([]string) signer.Action { return signer.ActionSign }
	}
	jobs := o.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	s := &signing{
		opt: &o, out: out, report: &signer.Report{},
		in:      newMembers(in, o.Action, o.AllowSparse),
		cache:   &cache{given: o.Reuse, labels: map[string][]byte{}},
		pending: make(chan *item, 2*jobs), order: make(chan *item, 2*jobs),
		held: map[*item]bool{},
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.read(ctx) })
	for range jobs {
		g.Go(func() error { return s.sign(ctx) })
	}
	g.Go(func() error { return s.write(ctx) })
	err := g.Wait()
	s.discard()
	if err != nil {
		return nil, err
	}
	if o.Ended != nil {
		if err := o.Ended(); err != nil {
			return nil, err
		}
	}
	if err := s.in.CopyEnd(out); err != nil {
		return nil, err
	}
	return s.report, nil
}

// signing is one run of Sign.
type signing struct {
	opt     *SignOptions
	in      *members
	out     io.Writer
	cache   *cache
	report  *signer.Report
	pending chan *item // files to be signed
	order   chan *item // members to be written

	mu   sync.Mutex
	held map[*item]bool // that have a spool
}

// hold takes note of an item, and release ends its spool.
func (s *signing) hold(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[it] = true
}

func (s *signing) release(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, it)
	it.data.Close()
}

// An item is a member on its way through.
type item struct {
	member *archive.Member
	file   signer.File
	data   spool
	done   chan struct{} // closed once it is ready to be written
	report *signer.Report
	value  []byte // the label that it gets
}

// read spools member after member.
func (s *signing) read(ctx context.Context) error {
	defer close(s.order)
	defer close(s.pending)
	for {
		m, err := s.in.next()
		if isEnd(err) {
			return nil
		} else if err != nil {
			return err
		}
		it := &item{member: m, file: s.in.file(m), done: make(chan struct{})}
		s.hold(it)
		if _, err := io.Copy(&it.data, contextReader{ctx, s.in}); err != nil {
			return fmt.Errorf("%s: %w", m.Path(), err)
		}
		if !m.IsFile() {
			close(it.done)
		} else if err := send(ctx, s.pending, it); err != nil {
			return err
		}
		if err := send(ctx, s.order, it); err != nil {
			return err
		}
		s.progress()
	}
}

func (s *signing) progress() {
	if s.opt.Progress != nil {
		s.opt.Progress(signer.Progress{Phase: signer.PhaseSign, Bytes: s.in.Offset()})
	}
}

// sign decides on file after file.
func (s *signing) sign(ctx context.Context) error {
	for {
		select {
		case it, ok := <-s.pending:
			if !ok {
				return nil
			}
			if err := s.signOne(ctx, it); err != nil {
				return err // it never gets done, lest it be written without a label
			}
			close(it.done)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *signing) signOne(ctx context.Context, it *item) error {
	o := s.opt.Options
	o.Jobs, o.KeepGoing, o.Listed, o.Progress, o.Reuse = 1, false, nil, nil, s.cache
	m := it.member
	t := &single{
		member: m, file: it.file,
		data: func() (io.Reader, error) { return it.data.Reader(), nil },
		// Where readers differ, the label is written anew.
		label: func() ([]byte, error) { return m.Plain(), nil },
	}
	r, err := signer.Sign(ctx, t, o)
	if err != nil {
		return err
	}
	rec := &r.Records[0]
	if rec.Value != nil && rec.Action == signer.ActionSign && rec.Other == "" {
		s.cache.learn(rec.Digest, rec.Value)
	}
	s.cache.settle(rec, &s.opt.Options)
	it.report = r
	if !changes(m, rec) {
		return nil
	}
	if m.HasEVM() && !s.opt.DropEVM {
		return fmt.Errorf("%s: %w", m.Path(), fsys.ErrEVM)
	}
	it.value = t.value
	if rec.Outcome == signer.Kept {
		it.value = slices.Clone(rec.Value)
	}
	return nil
}

// changes reports whether a label has to be written. One that is right already is written
// only where another reader would find another one.
func changes(m *archive.Member, rec *signer.Record) bool {
	switch rec.Outcome {
	case signer.Skipped, signer.Failed:
		return false
	case signer.Kept:
		return !m.Agrees()
	}
	return true
}

// write puts member after member out.
func (s *signing) write(ctx context.Context) error {
	for {
		select {
		case it, ok := <-s.order:
			if !ok {
				return nil
			}
			if err := s.writeOne(ctx, it); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *signing) writeOne(ctx context.Context, it *item) (err error) {
	select {
	case <-it.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer s.release(it)
	if err := s.tell(it); err != nil {
		return err
	}
	head := it.member.Head()
	if it.value != nil {
		if head, err = it.member.Labelled(it.value, s.opt.DropEVM); err != nil {
			return fmt.Errorf("%s: %w", it.member.Path(), err)
		}
	}
	if _, err := s.out.Write(head); err != nil {
		return err
	}
	_, err = io.Copy(s.out, it.data.Reader())
	return err
}

// tell counts a member and reports it.
func (s *signing) tell(it *item) error {
	switch {
	case it.report != nil:
		add(s.report, it.report)
		if s.opt.Result != nil {
			return s.opt.Result(it.report)
		}
	case s.opt.Other != nil:
		s.opt.Other(it.member)
	}
	return nil
}

// discard removes the spools of what was not written, once nobody works any more.
func (s *signing) discard() {
	for it := range s.held {
		s.release(it)
	}
}

// add counts one file, whose outcome may be another than package signer has counted.
func add(sum, one *signer.Report) {
	sum.Files++
	sum.Signatures += one.Signatures
	rec := &one.Records[0]
	switch rec.Outcome {
	case signer.Failed:
		sum.Failed++
		return
	case signer.Skipped:
		sum.Skipped++
		return
	case signer.Kept:
		sum.Kept++
	case signer.Signed:
		sum.Signed++
	case signer.Reused:
		sum.Reused++
	case signer.Hashed:
		sum.Hashed++
	case signer.Replaced:
		sum.Replaced++
	}
	sum.Bytes += rec.File.Size
}

func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A contextReader ends when the work is called off.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
