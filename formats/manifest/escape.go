package manifest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// escape turns a path of arbitrary bytes into valid UTF-8: a percent sign, and
// each byte that is not part of a valid UTF-8 sequence, become %XX.
func escape(path string) string {
	if utf8.ValidString(path) && !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == '%' || r == utf8.RuneError && n == 1 {
			b.WriteByte('%')
			b.WriteByte(upperHex[path[i]>>4])
			b.WriteByte(upperHex[path[i]&15])
		} else {
			b.WriteString(path[i : i+n])
		}
		i += n
	}
	return b.String()
}

// unescape is the inverse of escape, and refuses what escape does not produce.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("escape at byte %d is cut short", i)
		}
		hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("bad escape at byte %d", i)
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	if path := string(b); escape(path) == s {
		return path, nil
	}
	return "", fmt.Errorf("a byte is escaped that need not be")
}
