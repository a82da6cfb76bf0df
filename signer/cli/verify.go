package cli

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/signer"
)

// fileVerified is the "file" object of a command that verifies.
type fileVerified struct {
	Type    string   `json:"type"`
	Path    string   `json:"path"`
	Paths   []string `json:"paths,omitempty"` // all names, if there are several
	OK      bool     `json:"ok"`
	Action  string   `json:"action"` // what is wanted of the file
	Verdict string   `json:"verdict"`
	Reason  string   `json:"reason,omitempty"`
	Detail  string   `json:"detail,omitempty"`
	KeyID   string   `json:"key_id,omitempty"`
	KeyName string   `json:"key_name,omitempty"`
	Hash    string   `json:"hash,omitempty"`
	Digest  string   `json:"digest,omitempty"`
	Signed  string   `json:"signed_digest,omitempty"` // what the label was made for, if not for these contents
	Twin    string   `json:"twin,omitempty"`          // a file that has those contents
}

// Finding prints the result for one file. As text, and with --quiet, only what
// is not as it should be is printed, unless all is set.
func (o *Output) Finding(f *signer.Finding, all bool) {
	if f.OK() && !all && (o.Quiet || !o.JSON) {
		return
	}
	if o.JSON {
		o.Object(newFileVerified(f))
		return
	}
	names := EscapeName(f.File.Name())
	if n := len(f.File.Paths) - 1; n > 0 {
		names += fmt.Sprintf(" (and %s)", Count(n, "more name"))
	}
	o.Printf("%s: %s\n", names, FindingText(f))
}

// ReasonHelp explains the reasons to people.
const ReasonHelp = `Reasons for which a label is invalid:

  content-changed       genuine signature, but of other contents
  label-of-other-file   the same, and another file has those contents
  digest-differs        a digest, but not that of the contents
  signature-damaged     not a signature of the key that it names
  hash-id-damaged       genuine signature, but of another hash than it says
  unknown-key           no key with that id is trusted
  key-not-valid         the key is not valid now
  hash-not-allowed      a hash that is too weak, or not known
  version-1             an old kind of signature, over SHA-1
  fs-verity             a signature over an fs-verity digest, not checked here
  malformed             not a label`

func newFileVerified(f *signer.Finding) fileVerified {
	v := fileVerified{
		Type:    "file",
		Path:    Escape(f.File.Name()),
		Paths:   otherNames(f.File),
		OK:      f.OK(),
		Action:  f.Action.String(),
		Verdict: f.Verdict.String(),
		Reason:  string(f.Reason),
		Digest:  hex.EncodeToString(f.Digest),
		Signed:  hex.EncodeToString(f.Signed),
	}
	if f.Err != nil {
		v.Detail = Escape(f.Err.Error())
	}
	if f.KeyID != (ima.KeyID{}) {
		v.KeyID = f.KeyID.String()
	}
	if f.Key != nil {
		v.KeyName = f.Key.Name
	}
	if f.Value != nil && f.Reason != signer.ReasonMalformed {
		v.Hash = f.Hash.String()
	}
	if f.Twin != nil {
		v.Twin = Escape(f.Twin.Name())
	}
	return v
}

// FindingText tells the verdict to people.
func FindingText(f *signer.Finding) string {
	switch f.Verdict {
	case signer.Valid:
		text := "valid, key " + f.KeyID.String()
		if f.Key.Name != "" {
			text += " (" + f.Key.Name + ")"
		}
		return text
	case signer.DigestOnly:
		return "digest only, no signature"
	case signer.Invalid:
		return fmt.Sprintf("invalid, %s: %s", f.Reason, Line(f.Err))
	case signer.Unreadable:
		return "unreadable: " + Line(f.Err)
	}
	return f.Verdict.String()
}

// verifySums are the files by verdict, as all JSON objects that count them have it.
type verifySums struct {
	Files      int `json:"files"`
	Valid      int `json:"valid"`
	Unsigned   int `json:"unsigned"`
	DigestOnly int `json:"digest_only"`
	Invalid    int `json:"invalid"`
	Ignored    int `json:"ignored"`
	Unreadable int `json:"unreadable"`
	Bad        int `json:"bad"`
}

func newVerifySums(r *signer.VerifyReport) verifySums {
	return verifySums{r.Files, r.Valid, r.Unsigned, r.DigestOnly, r.Invalid, r.Ignored, r.Unreadable, r.Bad}
}

// VerifySummary is the "summary" object of a command that verifies.
type VerifySummary struct {
	Type string `json:"type"`
	OK   bool   `json:"ok"`
	verifySums
	Failures int     `json:"failures"`
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds"`
}

// NewVerifySummary takes the sums from a report.
func NewVerifySummary(r *signer.VerifyReport, took time.Duration) VerifySummary {
	return VerifySummary{"summary", r.OK(), newVerifySums(r), len(r.Failures), r.Bytes, seconds(took)}
}

// Text is the summary for people: one line.
func (s VerifySummary) Text() string {
	return fmt.Sprintf("%s, %s: %d valid, %d invalid, %d unsigned, %d digest only, %d ignored, %d unreadable; %.1f s",
		Count(s.Files, "file"), Size(s.Bytes), s.Valid, s.Invalid, s.Unsigned, s.DigestOnly, s.Ignored, s.Unreadable, s.Seconds)
}

// VerifyResult gives the error of a run that found something.
func VerifyResult(r *signer.VerifyReport) error {
	switch {
	case r.Bad > 0:
		return Incompletef("%d of %s not verified", r.Bad, Count(r.Files, "file"))
	case len(r.Failures) > 0:
		return Incompletef("%s could not be looked into", Count(len(r.Failures), "folder"))
	}
	return nil
}
