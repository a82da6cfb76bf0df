package signer

import (
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// Verdict is what Verify found out about one file.
type Verdict int

const (
	Unreadable Verdict = iota // contents or label could not be read; Finding.Err says why
	Ignored                   // left alone by its action, not even read
	Valid                     // signature verifies
	Unsigned                  // no label
	DigestOnly                // label is a digest, and matches
	Invalid                   // Finding.Reason says why
)

// String names the verdict as the commands' JSON does.
func (v Verdict) String() string {
	switch v {
	case Unreadable:
		return "unreadable"
	case Ignored:
		return "ignored"
	case Valid:
		return "valid"
	case Unsigned:
		return "unsigned"
	case DigestOnly:
		return "digest"
	case Invalid:
		return "invalid"
	}
	return fmt.Sprintf("verdict %d", int(v))
}

// Reason says why a label is invalid. Its text is stable: programs may rely on it.
type Reason string

const (
	// ReasonContent: the signature is genuine, but for other contents.
	ReasonContent Reason = "content-changed"
	// ReasonOtherFile: the same, and Finding.Twin has those contents, so the
	// label may have been taken from there.
	ReasonOtherFile Reason = "label-of-other-file"
	// ReasonDigest: the label is a digest, and not that of the contents.
	ReasonDigest Reason = "digest-differs"
	// ReasonSignature: the signature itself is damaged, or made by another key.
	ReasonSignature Reason = "signature-damaged"
	// ReasonHashID: the signature is genuine, but for another hash than the
	// header says.
	ReasonHashID Reason = "hash-id-damaged"
	// ReasonUnknownKey: the trust store has no key of that id.
	ReasonUnknownKey Reason = "unknown-key"
	// ReasonKeyExpired: the key is not valid now.
	ReasonKeyExpired Reason = "key-not-valid"
	// ReasonHash: a hash that is too weak or not available.
	ReasonHash Reason = "hash-not-allowed"
	// ReasonVersion1: a version 1 signature, which rests on SHA-1.
	ReasonVersion1 Reason = "version-1"
	// ReasonVerity: an fs-verity signature, which is not over the contents.
	ReasonVerity Reason = "fs-verity"
	// ReasonMalformed: not a label at all.
	ReasonMalformed Reason = "malformed"
)

// Finding is the result for one file.
type Finding struct {
	File    *File
	Action  Action // what was wanted of the file
	Verdict Verdict

	Reason Reason // if Invalid
	Err    error  // details, if Invalid or Unreadable

	Value  []byte          // the label as it is, nil if there is none
	KeyID  ima.KeyID       // that the label names, if it is a version 2 or 3 signature
	Key    *keys.PublicKey // of that id, if the trust store has it
	Hash   ima.HashID      // that the label names, unless it is malformed
	Digest []byte          // of the contents by Hash, if they were read

	Contents []byte // the digest of the contents by VerifyOptions.Contents

	Signed []byte // with ReasonContent and ReasonOtherFile: the digest that was signed
	Twin   *File  // with ReasonOtherFile: a file with that digest
}

// OK reports whether the file is as its action wants it: signed, or at least
// with a digest that matches, or anything at all.
func (f *Finding) OK() bool {
	switch f.Action {
	case ActionSign:
		return f.Verdict == Valid
	case ActionHash:
		return f.Verdict == Valid || f.Verdict == DigestOnly
	}
	return f.Verdict == Ignored
}

func (f *Finding) invalid(r Reason, format string, args ...any) {
	f.Verdict, f.Reason, f.Err = Invalid, r, fmt.Errorf(format, args...)
}

// VerifyReport sums up a run of Verify.
type VerifyReport struct {
	Files      int // all that the tree listed; the sum of the next six
	Valid      int
	Unsigned   int
	DigestOnly int
	Invalid    int
	Ignored    int
	Unreadable int

	Bad      int       // findings that are not OK
	Bytes    int64     // size of the files that were read
	Failures []Failure // of listing
}

// OK reports whether every file is as it should be, and none was missed.
func (r *VerifyReport) OK() bool { return r.Bad == 0 && len(r.Failures) == 0 }

// Merge adds the sums of another report.
func (r *VerifyReport) Merge(o *VerifyReport) {
	r.Files += o.Files
	r.Valid += o.Valid
	r.Unsigned += o.Unsigned
	r.DigestOnly += o.DigestOnly
	r.Invalid += o.Invalid
	r.Ignored += o.Ignored
	r.Unreadable += o.Unreadable
	r.Bad += o.Bad
	r.Bytes += o.Bytes
	r.Failures = append(r.Failures, o.Failures...)
}

// Add counts a finding.
func (r *VerifyReport) Add(f *Finding) {
	r.Files++
	switch f.Verdict {
	case Unreadable:
		r.Unreadable++
	case Ignored:
		r.Ignored++
	case Valid:
		r.Valid++
	case Unsigned:
		r.Unsigned++
	case DigestOnly:
		r.DigestOnly++
	case Invalid:
		r.Invalid++
	}
	if !f.OK() {
		r.Bad++
	}
	if f.Digest != nil || f.Contents != nil {
		r.Bytes += f.File.Size
	}
}
