package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes valid UTF-8 of a path: a percent sign, and each byte that is not
// part of valid UTF-8, becomes %XX, as in a manifest.
func Escape(path string) string {
	return escape(path, func(rune) bool { return false })
}

// EscapeName is Escape for people: control characters and others that a terminal
// would not show become %XX too, so that a name can neither forge a line nor
// steer the terminal.
func EscapeName(path string) string {
	return escape(path, func(r rune) bool { return !unicode.IsPrint(r) })
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

func escape(s string, also func(rune) bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		bad := r == utf8.RuneError && n == 1
		if bad || r == '%' || also(r) {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
