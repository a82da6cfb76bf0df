package cli

import (
	"fmt"
	"time"

	"github.com/vmseal/vmseal/signer"
)

// SignSummary is the "summary" object of a command that signs. A command may
// embed it to add fields of its own.
type SignSummary struct {
	Type       string  `json:"type"`
	Files      int     `json:"files"`
	Distinct   int     `json:"distinct_digests"` // negative if that is not known
	Kept       int     `json:"kept"`
	Signed     int     `json:"signed"`
	Reused     int     `json:"reused"`
	Hashed     int     `json:"hashed"`
	Skipped    int     `json:"skipped"`
	Failed     int     `json:"failed"`
	Signatures int     `json:"signatures"`
	Replaced   int     `json:"replaced"` // labels of other keys
	Bytes      int64   `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	DryRun     bool    `json:"dry_run"`
}

// NewSignSummary takes the sums from a report.
func NewSignSummary(r *signer.Report, took time.Duration, dryRun bool) SignSummary {
	return SignSummary{
		Type:       "summary",
		Files:      r.Files,
		Distinct:   r.Distinct,
		Kept:       r.Kept,
		Signed:     r.Signed,
		Reused:     r.Reused,
		Hashed:     r.Hashed,
		Replaced:   r.Replaced,
		Skipped:    r.Skipped,
		Failed:     r.Failed,
		Signatures: r.Signatures,
		Bytes:      r.Bytes,
		Seconds:    seconds(took),
		DryRun:     dryRun,
	}
}

// Text is the summary for people: one line.
func (s SignSummary) Text() string {
	what := ""
	if s.DryRun {
		what = "dry run, nothing was written: "
	}
	replaced := ""
	if s.Replaced > 0 {
		replaced = fmt.Sprintf(", %d replaced (other key)", s.Replaced)
	}
	distinct := ""
	if s.Distinct >= 0 {
		distinct = ", " + Count(s.Distinct, "distinct digest")
	}
	return fmt.Sprintf("%s%s, %s%s: %d signed, %d kept, %d reused, %d hashed, %d skipped, %d failed%s; %s, %.1f s",
		what, Count(s.Files, "file"), Size(s.Bytes), distinct,
		s.Signed, s.Kept, s.Reused, s.Hashed, s.Skipped, s.Failed, replaced, Count(s.Signatures, "new signature"), s.Seconds)
}

// fileSigned is the "file" object of a command that signs.
type fileSigned struct {
	Type    string   `json:"type"`
	Path    string   `json:"path"`
	Paths   []string `json:"paths,omitempty"` // all names, if there are several
	Action  string   `json:"action"`
	Outcome string   `json:"outcome"`
	Size    int64    `json:"size"`
	Digest  string   `json:"digest,omitempty"`
	Value   string   `json:"value,omitempty"`
	Other   string   `json:"other_key_id,omitempty"` // of the signature that was replaced, or kept by --keep-valid
}

// Signed prints a JSON object for each file of a report; as text the sums say
// enough.
func (o *Output) Signed(r *signer.Report) {
	if !o.JSON {
		return
	}
	for i := range r.Records {
		rec := &r.Records[i]
		o.Object(fileSigned{
			Type:    "file",
			Path:    Escape(rec.File.Name()),
			Paths:   otherNames(rec.File),
			Action:  rec.Action.String(),
			Outcome: rec.Outcome.String(),
			Size:    rec.File.Size,
			Digest:  fmt.Sprintf("%x", rec.Digest),
			Value:   fmt.Sprintf("%x", rec.Value),
			Other:   rec.Other,
		})
	}
}

// ReplacedHelp says what becomes of the labels of other keys.
const ReplacedHelp = `A signature by another key is replaced, counted apart and listed by --dry-run.
--keep-valid FILE leaves it alone if it verifies by a key in FILE, a trust store,
certificates or public keys.`

// Replaced lists the signatures by other keys that a run would replace, as text; the
// JSON objects of Signed have them.
func (o *Output) Replaced(r *signer.Report) {
	for i := range r.Records {
		if rec := &r.Records[i]; rec.Outcome == signer.Replaced {
			o.Printf("%s: a signature by another key, %s, would be replaced\n", EscapeName(rec.File.Name()), rec.Other)
		}
	}
}

// Failures tells what could not be worked on: as text on standard error.
func (o *Output) Failures(failures []signer.Failure) {
	for _, f := range failures {
		o.Object(struct {
			Type  string `json:"type"`
			Path  string `json:"path"`
			Error string `json:"error"`
		}{"failure", Escape(f.Path), Escape(f.Err.Error())})
		if !o.JSON {
			o.message("failed", fmt.Errorf("%s: %w", EscapeName(f.Path), f.Err), "")
		}
	}
}

// SignResult gives the error of a run in which some files failed.
func SignResult(r *signer.Report) error {
	if n := len(r.Failures); n > 0 {
		return Incompletef("%s failed", Count(n, "file"))
	}
	return nil
}

// otherNames lists the names of a file that has more than one.
func otherNames(f *signer.File) []string {
	if len(f.Paths) < 2 {
		return nil
	}
	names := make([]string, len(f.Paths))
	for i, p := range f.Paths {
		names[i] = Escape(p)
	}
	return names
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
