package cli

import "errors"

// hintOf gives the hint that an error carries, or else the first that is known.
func hintOf(err error, hints []Hints) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	for _, find := range hints {
		if hint := find(err); hint != "" {
			return hint
		}
	}
	return ""
}
