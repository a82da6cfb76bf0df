package manifest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
)

// Writer writes a manifest.
type Writer struct {
	w      *bufio.Writer
	header Header
	last   *Entry
	count  int
	err    error // sticky
}

// NewWriter checks and writes the header. Data may be buffered until Close.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("manifest header: %w", err)
	}
	line, err := encode(h.line())
	if err != nil {
		return nil, fmt.Errorf("manifest header: %w", err)
	}
	m := &Writer{w: bufio.NewWriter(w), header: h}
	if _, err := m.w.Write(line); err != nil {
		return nil, err
	}
	return m, nil
}

// Write adds an entry. Entries must be in the order of Compare, without duplicates. After an error
// all further calls fail.
func (m *Writer) Write(e Entry) error {
	if m.err == nil {
		m.err = m.write(e)
	}
	return m.err
}

func (m *Writer) write(e Entry) error {
	if err := e.check(m.header); err != nil {
		return fmt.Errorf("manifest entry %q: %w", e.Path, err)
	}
	if m.last != nil && Compare(*m.last, e) >= 0 {
		return fmt.Errorf("manifest entry %q: does not come after %q", e.Path, m.last.Path)
	}
	line, err := encode(e.line())
	if err != nil {
		return fmt.Errorf("manifest entry %q: %w", e.Path, err)
	}
	m.last = &e
	m.count++
	_, err = m.w.Write(line)
	return err
}

var errClosed = errors.New("manifest writer is closed")

// Close flushes the buffer. It fails if the number of entries differs from the header. It does not
// close the underlying writer.
func (m *Writer) Close() error {
	if m.err != nil {
		return m.err
	}
	m.err = errClosed
	if m.count != m.header.Entries {
		return fmt.Errorf("manifest has %d entries, but its header announces %d", m.count, m.header.Entries)
	}
	return m.w.Flush()
}

// Compare compares entries in the order of a manifest: by file system, then by the bytes of the
// path.
func Compare(a, b Entry) int {
	if c := cmp.Compare(a.Filesystem, b.Filesystem); c != 0 {
		return c
	}
	return cmp.Compare(a.Path, b.Path)
}
