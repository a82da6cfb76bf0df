package signer

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// label is a value and where it came from.
type label struct {
	value  []byte // nil in a dry run if it would have to be signed
	source Outcome
}

// settle completes the record of a file whose label is known.
func (rec *Record) settle(present []byte, l label) {
	rec.Value, rec.Outcome = l.value, l.source
	if l.value != nil && bytes.Equal(present, l.value) {
		rec.Outcome = Kept
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

// labeller makes the labels of distinct digests, each once.
type labeller struct {
	opt   Options
	store *keys.TrustStore // the public half of opt.Key

	mu         sync.Mutex
	digests    map[string]*pending
	signatures int
}

func newLabeller(o Options) (*labeller, error) {
	if err := CheckHash(o.Hash); err != nil {
		return nil, err
	}
	store, err := publicSide(o.Key, o.KeyID)
	if err != nil {
		return nil, err
	}
	return &labeller{opt: o, store: store, digests: make(map[string]*pending)}, nil
}

// join adds a file to those of its digest. The first is told so, and is to see
// to the label; a later one gets the finished pending, or nil if it has to wait.
func (l *labeller) join(digest []byte, w waiting) (p *pending, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.digests[string(digest)]
	switch {
	case !ok:
		p = &pending{digest: digest, present: w.present, files: []waiting{w}}
		l.digests[string(digest)] = p
		return p, true
	case p.done:
		return p, false
	}
	p.files = append(p.files, w)
	return nil, false
}

// finish marks the label as made and gives the files that waited for it.
func (l *labeller) finish(p *pending) []waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := p.files
	p.files, p.done = nil, true
	return files
}

// make finds or makes the label of a digest. What an earlier build supplies goes
// before what the file has, lest it depend on the order of files which of the
// two is told.
func (l *labeller) make(p *pending) error {
	if l.opt.Reuse != nil {
		value, ok := l.opt.Reuse.Value(p.digest, l.opt.KeyID, l.opt.Hash)
		if ok && l.right(value, p.digest) {
			p.label = label{bytes.Clone(value), Reused}
			return nil
		}
	}
	if l.right(p.present, p.digest) {
		p.label = label{p.present, Signed}
		return nil
	}
	l.mu.Lock()
	l.signatures++
	l.mu.Unlock()
	p.label.source = Signed
	if l.opt.DryRun {
		return nil
	}
	value, err := l.sign(p.digest)
	p.label.value = value
	return err
}

// right reports whether a value is the one that signing the digest would give.
// There is only one: the header is fixed, and PKCS #1 v1.5 has one signature for
// a digest and a key.
func (l *labeller) right(value, digest []byte) bool {
	if value == nil {
		return false
	}
	v, err := ima.Parse(value)
	if err != nil || v.Type != ima.Signature || v.Version != 2 || v.Hash != l.opt.Hash || v.KeyID != l.opt.KeyID {
		return false
	}
	_, err = l.store.Verify(v, digest)
	return err == nil
}

// sign uses the private key. A key behind hardware or a network may answer with
// anything, so the answer is verified before it becomes a label.
func (l *labeller) sign(digest []byte) ([]byte, error) {
	sig, err := l.opt.Key.Sign(rand.Reader, digest, l.opt.Hash.CryptoHash())
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	v := ima.SignatureV2(l.opt.Hash, l.opt.KeyID, sig)
	if _, err := l.store.Verify(v, digest); err != nil {
		return nil, fmt.Errorf("signature does not verify under the public half of its own key: %w", err)
	}
	return v.Append(nil)
}

func (l *labeller) digest(digest []byte) ([]byte, error) {
	return ima.DigestValue(l.opt.Hash, digest).Append(nil)
}
