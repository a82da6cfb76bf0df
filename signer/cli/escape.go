package cli

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

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
	var b strings.Builder
	for _, r := range escape.Path(path) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// ShellName is the path of a file as a person types it in a command of a shell. A path
// that cannot be shown cannot be typed either: then a word stands for it.
func ShellName(path, word string) string {
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return word
	}
	var b strings.Builder
	if strings.HasPrefix(path, "-") { // is no flag
		b.WriteString("./")
	}
	for _, r := range path {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+=:,@%", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Printable is EscapeName for text that is not a path alone: percent signs stay.
func Printable(text string) string {
	parts := strings.Split(text, "%")
	for i, part := range parts {
		parts[i] = EscapeName(part)
	}
	return strings.Join(parts, "%")
}

// asciiControls writes the characters of a JSON text that would steer a terminal,
// and that JSON leaves as they are, as \uXXXX.
func asciiControls(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var b []byte
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case unicode.IsPrint(r):
			b = append(b, text[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		text = text[n:]
	}
	return b
}

// Line is an error as one line of printable text. Errors that were joined stand
// apart; a line end in a name is escaped, so that a name cannot forge a line.
func Line(err error) string {
	text := err.Error()
	var inner []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner = append(inner, e.Unwrap())
	case interface{ Unwrap() []error }:
		inner = e.Unwrap()
	}
	raw, lines := make([]string, len(inner)), make([]string, len(inner))
	for i, e := range inner {
		if e == nil {
			continue
		}
		raw[i], lines[i] = e.Error(), Line(e)
		text = strings.Replace(text, raw[i], lines[i], 1)
	}
	if len(inner) > 1 && strings.Join(raw, "\n") == err.Error() { // errors.Join
		return strings.Join(lines, "; ")
	}
	return Printable(text)
}
