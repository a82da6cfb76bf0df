package base

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestRecipes makes every kind. e2fsck finds it clean, and so every checksum
// that Seal computes must be the one that is there.
func TestRecipes(t *testing.T) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, r := range Recipes {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			im, err := r.Build(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			b := im.Clone()
			if im.Seal(b); !bytes.Equal(b, im.Bytes) {
				t.Errorf("Seal changes a healthy image, first at %#x", firstDifference(b, im.Bytes))
			}
			if im.Recount(b); !bytes.Equal(b, im.Bytes) {
				t.Errorf("Recount changes a healthy image, first at %#x", firstDifference(b, im.Bytes))
			}
			if again, err := r.Build(t.Context(), t.TempDir()); err != nil || !bytes.Equal(again.Bytes, im.Bytes) {
				t.Errorf("a second image differs, first at %#x: %v", firstDifference(again.Bytes, im.Bytes), err)
			}
			t.Logf("%d bytes, %d cases", len(b), len(im.Cases()))
		})
	}
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}
