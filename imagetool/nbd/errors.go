package nbd

import (
	"fmt"
	"strings"
	"syscall"
)

// A ServerError is a request, or an option of the handshake, that the server turned down.
// The connection can be used further.
type ServerError struct {
	What    string // "reading 512 bytes at 0"
	Code    uint32 // NBD's error value
	Message string // the server's own; may be empty
}

func (e *ServerError) Error() string {
	var text []string
	if e.Message != "" {
		text = append(text, e.Message)
	}
	if errno := e.errno(); errno != 0 {
		text = append(text, errno.Error())
	} else if e.Message == "" {
		text = append(text, fmt.Sprintf("error %d", e.Code))
	}
	return fmt.Sprintf("%s: the NBD server says: %s", e.What, strings.Join(text, ": "))
}

// Unwrap gives what the value stands for on Linux, whose numbers the protocol has taken.
func (e *ServerError) Unwrap() error {
	if errno := e.errno(); errno != 0 {
		return errno
	}
	return nil
}

func (e *ServerError) errno() syscall.Errno {
	switch errno := syscall.Errno(e.Code); errno {
	case syscall.EPERM, syscall.EIO, syscall.ENOMEM, syscall.EINVAL, syscall.ENOSPC, syscall.EOVERFLOW,
		syscall.ENOTSUP, syscall.ESHUTDOWN:
		return errno
	}
	return 0
}

// A ProtocolError says that what came is not what NBD has in this place. The connection
// is of no use any more.
type ProtocolError struct {
	Reason string
}

func (e *ProtocolError) Error() string { return "the NBD server breaks the protocol: " + e.Reason }

func broken(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}
