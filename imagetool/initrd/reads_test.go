package initrd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/policy"
)

// TestReadsPolicy: the rules are behind those of the policy, and make one that protects.
func TestReadsPolicy(t *testing.T) {
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	for rootOnly, want := range map[bool]string{
		false: "appraise func=FILE_CHECK fsuuid=" + id + " appraise_type=imasig",
		true:  "appraise func=FILE_CHECK fsuuid=" + id + " euid=0 appraise_type=imasig",
	} {
		text, err := ReadsPolicy(strings.ToUpper(id), rootOnly)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Parse([]byte(DebianPolicy + text))
		if err != nil {
			t.Fatal(err)
		}
		if rules := p.Rules(); !slices.Equal(rules, append(debian(t).Rules(), want)) {
			t.Errorf("rules %q", rules)
		}
	}
	for _, bad := range []string{"", "0123", id + "0", "0123456789abcdef0123456789abcdef", id[:35] + "\n", "g" + id[1:]} {
		if text, err := ReadsPolicy(bad, false); !errors.Is(err, ErrUUID) || text != "" {
			t.Errorf("%q: %q, %v", bad, text, err)
		}
	}
}
