// Package escape turns names of arbitrary bytes, such as paths of files, into valid UTF-8. It
// writes a percent sign, and each byte that is not part of a valid UTF-8 sequence, as %XX with
// upper-case digits. Each name has exactly one escaped form.
package escape

import (
	"fmt"
	"strings"
)

// Path escapes a path. The result is valid UTF-8 and fits into a JSON string.
func Path(path string) string {
	var b strings.Builder
	for i, r := range path {
		if r == '%' || !strings.HasPrefix(path[i:], string(r)) { // range yields U+FFFD for invalid UTF-8
			fmt.Fprintf(&b, "%%%02X", path[i])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
