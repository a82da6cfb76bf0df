package disk

import "fmt"

// A RefusedError says why an image is not used although it could be read, and
// what a person can do about it.
type RefusedError struct {
	Reason string
	Hint   string // may be empty
}

func (e *RefusedError) Error() string { return e.Reason }

// Advice is the hint.
func (e *RefusedError) Advice() string { return e.Hint }

func refuse(hint, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: fmt.Sprintf(format, args...), Hint: hint}
}

const (
	hintRepair = "look at it with sgdisk --verify or sfdisk --verify, and repair the table on a copy of the image"
	hintWipe   = "wipefs shows what was found where; remove what is stale on a copy of the image"
)
