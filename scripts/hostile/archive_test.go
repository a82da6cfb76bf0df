package hostile

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestArchives: each number is one archive, which is spoilt.
func TestArchives(t *testing.T) {
	for _, tool := range []string{"tar", "bsdtar"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	a, err := newArchives(t.Context(), t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for n := range 10 * len(archiveKinds) {
		s, again := a.make(n), a.make(n)
		if !bytes.Equal(s.bytes, again.bytes) || len(s.damage) == 0 {
			t.Errorf("number %d: %q, and then %q", n, s.damage, again.damage)
		}
		if bytes.Equal(s.bytes, a.bytes[n%len(archiveKinds)]) {
			same++
		}
	}
	if same > len(archiveKinds) { // a field may have had that value
		t.Errorf("%d archives are whole", same)
	}
}
