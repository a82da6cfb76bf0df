package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/escape"
)

// unescape is the inverse of escape.Path. It fails for strings that Path does not return.
func unescape(s string) (string, error) {
	var path strings.Builder
	for rest := s; ; {
		plain, after, found := strings.Cut(rest, "%")
		path.WriteString(plain)
		if !found {
			break
		}
		at := len(s) - len(after) - 1
		if len(after) < 2 {
			return "", fmt.Errorf("escape at byte %d is cut short", at)
		}
		b, err := hex.DecodeString(after[:2])
		if err != nil {
			return "", fmt.Errorf("bad escape at byte %d", at)
		}
		path.Write(b)
		rest = after[2:]
	}
	if escape.Path(path.String()) != s {
		return "", errors.New("an escape is not needed, or has lower-case digits")
	}
	return path.String(), nil
}
