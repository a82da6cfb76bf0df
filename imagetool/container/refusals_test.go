package container

import (
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/refusals"
)

// TestEveryRefusal wants a reason beside each refusal.
func TestEveryRefusal(t *testing.T) {
	b := refusals.Book{Makers: refusals.Makers{"refuse": {Argument: 1}}}
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
	b.CheckTable(t, "REFUSALS.md")
}
