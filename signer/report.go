package signer

import "fmt"

// Outcome is what became of one file.
type Outcome int

const (
	Failed   Outcome = iota // see Report.Failures
	Skipped                 // left alone by its action
	Kept                    // had the right label already
	Signed                  // got a signature
	Reused                  // got a signature that Options.Reuse supplied
	Hashed                  // got a digest
	Replaced                // got a label in place of a signature by another key
)

// String names the outcome as the commands' JSON does.
func (o Outcome) String() string {
	switch o {
	case Failed:
		return "failed"
	case Skipped:
		return "skipped"
	case Kept:
		return "kept"
	case Signed:
		return "signed"
	case Reused:
		return "reused"
	case Hashed:
		return "hashed"
	case Replaced:
		return "replaced"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Record is one file, what was wanted and what became of it.
type Record struct {
	File    *File
	Action  Action
	Outcome Outcome
	Digest  []byte // nil if skipped or failed
	Value   []byte // the label it has now; nil if skipped, failed, or to be signed in a dry run
	Other   string // the id of another key, if it has or had a signature by that
}

// Report is the result of Sign. It does not depend on the number of jobs; only
// Signatures may, as its comment says.
type Report struct {
	Files    int // all that the tree listed; the sum of the next seven
	Kept     int
	Signed   int
	Reused   int
	Hashed   int
	Replaced int
	Skipped  int
	Failed   int
	Distinct int   // distinct digests among the files to be signed
	Bytes    int64 // size of the files that were read

	// Signatures counts uses of the private key. It is the number of distinct
	// digests among the signed files, except that a digest whose label one file
	// has already and another lacks costs a signature if the other comes first.
	Signatures int

	Records  []Record  // in the order of Tree.Files
	Failures []Failure // of listing, then in the order of Tree.Files
}

// count fills the sums from the records.
func (r *Report) count() {
	r.Files = len(r.Records)
	digests := make(map[string]struct{})
	for i := range r.Records {
		rec := &r.Records[i]
		switch rec.Outcome {
		case Failed:
			r.Failed++
			continue
		case Skipped:
			r.Skipped++
			continue
		case Kept:
			r.Kept++
		case Signed:
			r.Signed++
		case Reused:
			r.Reused++
		case Hashed:
			r.Hashed++
		case Replaced:
			r.Replaced++
		}
		r.Bytes += rec.File.Size
		if rec.Action == ActionSign {
			digests[string(rec.Digest)] = struct{}{}
		}
	}
	r.Distinct = len(digests)
}
