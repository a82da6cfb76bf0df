package signer

import (
	"crypto/rand"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// Labeller makes labels of digests with one key. It may be used concurrently.
type Labeller struct {
	opt   Options
	store *keys.TrustStore // the public half of opt.Key; nil for a dry run without one
}

// NewLabeller takes Key, KeyID and Hash of the options.
func NewLabeller(o Options) (*Labeller, error) {
	if err := CheckHash(o.Hash); err != nil {
		return nil, err
	}
	if o.DryRun && o.Key == nil && o.Bits > 0 {
		return &Labeller{opt: o}, nil
	}
	store, err := publicSide(o.Key, o.KeyID)
	if err != nil {
		return nil, err
	}
	return &Labeller{opt: o, store: store}, nil
}

// Label signs a digest of the right length. A key behind hardware or a network
// may answer with anything, so the answer is verified before it becomes a label.
func (l *Labeller) Label(digest []byte) ([]byte, error) {
	if len(digest) != l.opt.Hash.Size() {
		return nil, fmt.Errorf("digest of %d bytes, but %v has %d", len(digest), l.opt.Hash, l.opt.Hash.Size())
	}
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

// DigestLabel makes the label that holds the digest alone.
func (l *Labeller) DigestLabel(digest []byte) ([]byte, error) {
	return ima.DigestValue(l.opt.Hash, digest).Append(nil)
}

// Right reports whether a value is the one that Label would give. There is only
// one: the header is fixed, and PKCS #1 v1.5 has one signature for a digest and
// a key. The private key is not used.
func (l *Labeller) Right(value, digest []byte) bool {
	if value == nil || l.store == nil {
		return false
	}
	v, err := ima.Parse(value)
	if err != nil || v.Type != ima.Signature || v.Version != 2 || v.Hash != l.opt.Hash || v.KeyID != l.opt.KeyID {
		return false
	}
	_, err = l.store.Verify(v, digest)
	return err == nil
}
