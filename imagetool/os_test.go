package imagetool

import "testing"

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
