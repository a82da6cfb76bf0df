package cli

import (
	"strings"
	"unicode"

	"github.com/vmseal/vmseal/formats/escape"
)

// Escape makes valid UTF-8 of a path: a percent sign, and each byte that is not
// part of valid UTF-8, becomes %XX, as in a manifest.
func Escape(path string) string {
	return escape.Path(path)
}

// EscapeName is Escape for people: control characters and others that a terminal
// would not show become %XX too, so that a name can neither forge a line nor
// steer the terminal.
func EscapeName(path string) string {
	return escape.With(path, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Printable is EscapeName for text that is not a path alone: percent signs and
// line ends stay.
func Printable(text string) string {
	var b strings.Builder
	for _, part := range strings.SplitAfter(text, "%") {
		body, percent := strings.CutSuffix(part, "%")
		for i, line := range strings.Split(body, "\n") {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(EscapeName(line))
		}
		if percent {
			b.WriteByte('%')
		}
	}
	return b.String()
}
