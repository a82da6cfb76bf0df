// Package escape makes valid UTF-8 of names that are arbitrary bytes, as the paths
// of files are: a percent sign, and each byte that is not part of a valid UTF-8
// sequence, become %XX with upper-case digits. The form is the only one of its name.
package escape

import (
	"fmt"
	"strings"
)

// Path escapes what cannot stand in a JSON string, and the percent sign.
func Path(path string) string {
	var b strings.Builder
	for i, r := range path {
		if r == '%' || !strings.HasPrefix(path[i:], string(r)) { // range gives U+FFFD for what is no UTF-8
			fmt.Fprintf(&b, "%%%02X", path[i])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
