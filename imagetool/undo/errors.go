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

// A CutShortError says that an image was left half changed, with its undo log beside
// it: what kept the change from its end has kept it from being undone as well.
type CutShortError struct {
	Path string
	Log  string
	Err  error
}

func (e *CutShortError) Error() string {
	return fmt.Sprintf("%s is half changed, and its undo log is %s: %v", e.Path, e.Log, e.Err)
}

func (e *CutShortError) Unwrap() error { return e.Err }

// A LogStaysError says that an image was changed to the end, and that its undo log
// could not be removed, or not so that it is gone after a loss of power too.
type LogStaysError struct {
	Path string
	Log  string
	Err  error
}

func (e *LogStaysError) Error() string {
	return fmt.Sprintf("%s is complete, but its undo log is not removed for good: %v", e.Path, e.Err)
}

func (e *LogStaysError) Unwrap() error { return e.Err }

// An OtherImageError says that an undo log is for an image of another size.
type OtherImageError struct {
	Log       string
	Want, Got int64
}

func (e *OtherImageError) Error() string {
	return fmt.Sprintf("undo log %s is for an image of %d bytes, not of %d", e.Log, e.Want, e.Got)
}
