package signer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// examine reads the label and, where the label leaves it open or they are asked for,
// the contents. The error is for what could not be read.
func (v *verification) examine(ctx context.Context, f *Finding) error {
	var err error
	if f.Value, err = v.tree.Label(f.File); err != nil {
		return fmt.Errorf("reading the label: %w", err)
	}
	label, open := v.parse(f)
	if err := v.read(ctx, f, label, open); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	switch {
	case !open:
	case label.IsSignature():
		v.judge(f, label)
	default:
		compare(f, label)
	}
	return nil
}

// parse reports whether the contents decide what the label is worth. If not, it has
// told the verdict.
func (v *verification) parse(f *Finding) (label ima.Value, open bool) {
	if f.Value == nil {
		f.Verdict = Unsigned
		return label, false
	}
	label, err := ima.Parse(f.Value)
	if err != nil {
		f.invalid(ReasonMalformed, "%w", err)
		return label, false
	}
	f.Hash = label.Hash
	if label.IsSignature() && label.Version != 1 {
		f.KeyID = label.KeyID
		if v.trust != nil {
			f.Key, _ = v.trust.Lookup(label.KeyID)
		}
	}
	return label, v.readable(f, label)
}

// read digests the contents as often as it takes.
func (v *verification) read(ctx context.Context, f *Finding, label ima.Value, open bool) error {
	var hashes []crypto.Hash
	if open {
		hashes = append(hashes, label.Hash.CryptoHash())
	}
	if c := v.opt.Contents; c != 0 && !slices.Contains(hashes, c) {
		hashes = append(hashes, c)
	}
	if len(hashes) == 0 {
		return nil
	}
	digests, err := digestFile(ctx, v.tree, f.File, v.meter, io.Discard, hashes...)
	if err != nil {
		return err
	}
	if open {
		f.Digest = digests[0]
	}
	if v.opt.Contents != 0 {
		f.Contents = digests[slices.Index(hashes, v.opt.Contents)]
	}
	return nil
}

// readable reports whether the contents have to be read to judge the label. If
// not, it has told why.
func (v *verification) readable(f *Finding, label ima.Value) bool {
	switch {
	case label.Type == ima.VeritySignature:
		f.invalid(ReasonVerity, "fs-verity signatures are not checked")
	case label.IsSignature() && label.Version == 1:
		f.invalid(ReasonVersion1, "version 1 signatures are not accepted")
	case label.IsSignature() && CheckHash(label.Hash) != nil:
		f.invalid(ReasonHash, "%w", CheckHash(label.Hash))
	case !computable(label.Hash):
		f.invalid(ReasonHash, "%v cannot be computed here", label.Hash)
	case label.IsSignature() && f.Key == nil:
		f.invalid(ReasonUnknownKey, "no key with id %v", label.KeyID)
	default:
		return true
	}
	return false
}

func compare(f *Finding, label ima.Value) {
	if bytes.Equal(f.Digest, label.Digest) {
		f.Verdict = DigestOnly
		return
	}
	f.invalid(ReasonDigest, "label is another digest than that of the contents")
}

// judge verifies a version 2 signature by a known key over the contents, and
// finds out why it fails if it does.
func (v *verification) judge(f *Finding, label ima.Value) {
	_, err := v.trust.Verify(label, f.Digest)
	switch {
	case err == nil:
		f.Verdict = Valid
	case errors.Is(err, keys.ErrNotValid):
		f.invalid(ReasonKeyExpired, "%w", err)
	case errors.Is(err, keys.ErrBadSignature):
		v.diagnose(f, label)
	default:
		f.invalid(ReasonSignature, "%w", err)
	}
}

// diagnose tells a genuine signature over something else from a damaged one.
func (v *verification) diagnose(f *Finding, label ima.Value) {
	for _, hash := range []ima.HashID{label.Hash, ima.SHA256, ima.SHA384, ima.SHA512} {
		label.Hash = hash
		digest := Recover(f.Key.RSA, label)
		if _, err := v.trust.Verify(label, digest); err != nil {
			continue
		}
		if hash != f.Hash {
			f.invalid(ReasonHashID, "label says %v, but a %v digest was signed", f.Hash, hash)
			return
		}
		f.Signed = digest
		f.invalid(ReasonContent, "label was made for other contents")
		return
	}
	f.invalid(ReasonSignature, "signature is damaged, or of another key with id %v", label.KeyID)
}
