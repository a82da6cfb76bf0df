package imagetool

import (
	"path/filepath"
	"testing"
)

func TestPrettyName(t *testing.T) {
	for text, want := range map[string]string{
		"NAME=a\nPRETTY_NAME=\"b c\"\n": "b c",
		"PRETTY_NAME='b'\nNAME=a":       "b",
		"NAME=a":                        "a",
		"PRETTY_NAME=\"":                "\"",
		"PRETTY_NAME=":                  "",
		"":                              "",
		"garbage\x00":                   "",
	} {
		if got := prettyName(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

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
