package xen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Messages of xenstore (xen/include/public/io/xs_wire.h).
const (
	storeDirectory = 1
	storeRead      = 2
	storeError     = 16
	storeHeader    = 16
	storePayload   = 4096
)

// store speaks to xenstored, which knows the names of domains.
type store struct{ f *os.File }

func openStore() (*store, error) {
	f, err := os.OpenFile("/dev/xen/xenbus", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reaching xenstore: %w", err)
	}
	return &store{f}, nil
}

func (s *store) close() error { return s.f.Close() }

func (s *store) read(path string) (string, error) { return s.ask(storeRead, path) }

func (s *store) list(path string) ([]string, error) {
	text, err := s.ask(storeDirectory, path)
	return strings.Split(strings.TrimSuffix(text, "\x00"), "\x00"), err
}

// ask sends one request and takes its reply.
func (s *store) ask(kind uint32, path string) (string, error) {
	msg := make([]byte, storeHeader, storeHeader+len(path)+1)
	le.PutUint32(msg, kind)
	le.PutUint32(msg[12:], uint32(len(path)+1))
	if _, err := s.f.Write(append(append(msg, path...), 0)); err != nil {
		return "", fmt.Errorf("asking xenstore for %s: %w", path, err)
	}
	head := make([]byte, storeHeader)
	_, err := io.ReadFull(s.f, head)
	n := le.Uint32(head[12:])
	if err == nil && n > storePayload {
		err = errors.New("its reply is too long")
	}
	text := make([]byte, min(n, storePayload))
	if err == nil {
		_, err = io.ReadFull(s.f, text)
	}
	if err == nil && le.Uint32(head) == storeError {
		err = fmt.Errorf("it says %s", strings.TrimRight(string(text), "\x00"))
	}
	if err != nil {
		return "", fmt.Errorf("asking xenstore for %s: %w", path, err)
	}
	return string(text), nil
}
