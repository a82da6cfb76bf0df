package sign

import (
	"path/filepath"
	"testing"
)

func TestSamePath(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{filepath.Join(dir, "x"), dir + "/./x", true},
		{filepath.Join(dir, "x"), filepath.Join(dir, "y"), false},
		{filepath.Join(dir, "x"), filepath.Join(t.TempDir(), "x"), false},
	} {
		if got := samePath(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %v", c.a, c.b, got)
		}
	}
}
