package base

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// TestRecipes makes every kind. e2fsck finds it clean, and so every checksum
// that Seal computes must be the one that is there.
func TestRecipes(t *testing.T) {
	needTools(t)
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

// TestSpoil applies every case of an image. The same random numbers do the same
// again, and whatever it did, Seal must cope with it.
func TestSpoil(t *testing.T) {
	needTools(t)
	for _, r := range Recipes {
		if r.Name != "csum-seed" && r.Name != "no-extents" {
			continue
		}
		im, err := r.Build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var same int
		cases := im.Cases()
		for i, c := range cases {
			spoil := func() ([]byte, string) {
				b := im.Clone()
				did := im.Spoil(b, c, rand.New(rand.NewPCG(1, uint64(i))))
				im.Recount(b)
				im.Seal(b)
				return b, did
			}
			a, did := spoil()
			if did == "" {
				t.Errorf("%s: %s: nothing was done", r.Name, c)
			}
			if b, again := spoil(); again != did || !bytes.Equal(a, b) {
				t.Errorf("%s: %s: did %q, then %q", r.Name, c, did, again)
			}
			if bytes.Equal(a, im.Bytes) {
				same++
			}
		}
		if same > len(cases)/3 {
			t.Errorf("%s: %d of %d cases changed nothing", r.Name, same, len(cases))
		}
	}
}

func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"mke2fs", "debugfs", "e2fsck", "tune2fs", "sfdisk"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}
