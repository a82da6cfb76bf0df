package lvm

import "fmt"

// A DamagedError says that bytes are not what LVM2 would take for its own.
type DamagedError struct {
	Err error
}

func (e *DamagedError) Error() string { return e.Err.Error() }

func (e *DamagedError) Unwrap() error { return e.Err }

// A RefusedError says why a group or a volume is not read although its metadata could be.
type RefusedError struct {
	Reason string
}

func (e *RefusedError) Error() string { return e.Reason }

func refuse(format string, args ...any) *RefusedError {
	return &RefusedError{fmt.Sprintf(format, args...)}
}
