// Package escape makes valid UTF-8 of names that are arbitrary bytes, as the paths
// of files are: a percent sign, and each byte that is not part of a valid UTF-8
// sequence, become %XX with upper-case digits. The form is the only one of its name.
package escape

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Path escapes what cannot stand in a JSON string, and the percent sign.
func Path(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == '%' || r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "%%%02X", path[i])
		} else {
			b.WriteString(path[i : i+n])
		}
		i += n
	}
	return b.String()
}
