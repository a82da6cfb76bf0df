package undo

import "fmt"

// A PendingError says that an image was being changed in place and that this did not
// come to its end.
type PendingError struct {
	Path string
	Log  string // the undo log
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("%s was being changed in place, and that was cut short: there is an undo log, %s", e.Path, e.Log)
}
