package cli

import (
	"errors"
	"fmt"
)

// Exit codes. 4 is the enforcer's.
const (
	ExitOK         = 0
	ExitFailed     = 1
	ExitUsage      = 2
	ExitIncomplete = 3
)

// UsageError is an error of whoever typed the command.
type UsageError struct {
	Err error
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// IncompleteError ends a run that went to its end, with findings. These have
// been told; the error sums them up.
type IncompleteError struct {
	Err error
}

func (e *IncompleteError) Error() string { return e.Err.Error() }
func (e *IncompleteError) Unwrap() error { return e.Err }

// Incompletef makes an IncompleteError.
func Incompletef(format string, args ...any) error {
	return &IncompleteError{fmt.Errorf(format, args...)}
}

// hinted is an error with its own hint.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// WithHint attaches what a person may do about the error.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*IncompleteError](err); ok {
		return ExitIncomplete
	}
	return ExitFailed
}
