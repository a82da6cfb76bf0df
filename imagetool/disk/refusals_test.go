package disk

import (
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/refusals"
)

// TestEveryRefusal wants a reason beside each refusal. What the kernel makes of the same
// tables is shown by the tests with partx.
func TestEveryRefusal(t *testing.T) {
	b := refusals.Book{Makers: refusals.Makers{"refuse": {Argument: 1}, "problem": {Argument: 2}}}
	unjudged, err := b.Unjudged()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range unjudged {
		t.Errorf("%s: no reason is written for %q", r.Where, r.Format)
	}
	if err := b.Write(); err != nil {
		t.Error(err)
	}
}
