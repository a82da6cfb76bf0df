package signer

import (
	"bytes"
	"sync"
)

// label is a value and where it came from.
type label struct {
	value  []byte // nil in a dry run if it would have to be signed
	source Outcome
}

// settle completes the record of a file whose label is known.
func (rec *Record) settle(present []byte, l label) {
	rec.Value, rec.Outcome = l.value, l.source
	switch {
	case l.value != nil && bytes.Equal(present, l.value):
		rec.Outcome = Kept
	case rec.Other != "":
		rec.Outcome = Replaced
	}
}

// waiting is a file that waits for the label of its digest.
type waiting struct {
	file    int
	present []byte
}

// pending is one distinct digest.
type pending struct {
	digest  []byte
	present []byte // what the first of the files has
	files   []waiting
	done    bool
	label   label // once done
}

// distinct makes the label of each digest once.
type distinct struct {
	*Labeller

	mu         sync.Mutex
	digests    map[string]*pending
	signatures int
}

// join adds a file to those of its digest. The first is told so, and is to see
// to the label; a later one gets the finished pending, or nil if it has to wait.
func (d *distinct) join(digest []byte, w waiting) (p *pending, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.digests[string(digest)]
	switch {
	case !ok:
		p = &pending{digest: digest, present: w.present, files: []waiting{w}}
		d.digests[string(digest)] = p
		return p, true
	case p.done:
		return p, false
	}
	p.files = append(p.files, w)
	return nil, false
}

// finish marks the label as made and gives the files that waited for it.
func (d *distinct) finish(p *pending) []waiting {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := p.files
	p.files, p.done = nil, true
	return files
}

// make finds or makes the label of a digest. What an earlier build supplies goes
// before what the file has, lest it depend on the order of files which of the
// two is told.
func (d *distinct) make(p *pending) error {
	if d.opt.Reuse != nil {
		value, ok := d.opt.Reuse.Value(p.digest, d.opt.KeyID, d.opt.Hash)
		if ok && d.Right(value, p.digest) {
			p.label = label{bytes.Clone(value), Reused}
			return nil
		}
	}
	if d.Right(p.present, p.digest) {
		p.label = label{p.present, Signed}
		return nil
	}
	d.mu.Lock()
	d.signatures++
	d.mu.Unlock()
	p.label.source = Signed
	if d.opt.DryRun {
		return nil
	}
	value, err := d.Label(p.digest)
	p.label.value = value
	return err
}
