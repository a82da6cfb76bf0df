package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Reader reads a manifest.
type Reader struct {
	r      *bufio.Reader
	header Header
	line   int // number of the last line read, from 1
	last   *Entry
	count  int
	err    error // sticky
}

// NewReader reads and checks the header. It may read more of r than it returns.
func NewReader(r io.Reader) (*Reader, error) {
	m := &Reader{r: bufio.NewReaderSize(r, MaxLine)}
	raw, err := m.readLine()
	if err == io.EOF {
		err = errors.New("no header")
	}
	var l headerLine
	if err == nil {
		err = decode(raw, &l)
	}
	if err == nil && l.Format != Format {
		err = fmt.Errorf("format %d, but only %d is known", l.Format, Format)
	}
	if err == nil {
		m.header = l.header()
		err = m.header.check()
	}
	if err != nil {
		return nil, fmt.Errorf("manifest line 1: %w", err)
	}
	return m, nil
}

// Header returns the header.
func (m *Reader) Header() Header { return m.header }

// Next returns the next entry. It returns io.EOF after the last one.
func (m *Reader) Next() (Entry, error) {
	if m.err != nil {
		return Entry{}, m.err
	}
	e, err := m.next()
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("manifest line %d: %w", m.line, err)
		}
		m.err = err
		return Entry{}, err
	}
	m.last = &e
	m.count++
	return e, nil
}

// Entries returns an iterator over the remaining entries. It ends after an error.
func (m *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			e, err := m.Next()
			if err == io.EOF || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (m *Reader) next() (Entry, error) {
	raw, err := m.readLine()
	switch {
	case err == io.EOF && m.count != m.header.Entries:
		return Entry{}, fmt.Errorf("the manifest ends after %d of %d entries", m.count, m.header.Entries)
	case err != nil:
		return Entry{}, err
	}
	var l entryLine
	if err := decode(raw, &l); err != nil {
		return Entry{}, err
	}
	e, err := l.entry()
	if err != nil {
		return Entry{}, err
	}
	if err := e.check(m.header); err != nil {
		return Entry{}, err
	}
	if m.last != nil && Compare(*m.last, e) >= 0 {
		return Entry{}, fmt.Errorf("entry %q does not come after %q", e.Path, m.last.Path)
	}
	if m.count == m.header.Entries {
		return Entry{}, fmt.Errorf("entry %q comes after the last of the entries that the header announces", e.Path)
	}
	return e, nil
}

// readLine returns the next line with its newline. The line is valid until the next call. It
// returns io.EOF only at the beginning of a line.
func (m *Reader) readLine() ([]byte, error) {
	m.line++
	raw, err := m.r.ReadSlice('\n')
	switch {
	case err == nil:
		return raw, nil
	case err == bufio.ErrBufferFull:
		return nil, fmt.Errorf("longer than %d bytes", MaxLine)
	case err == io.EOF && len(raw) > 0:
		return nil, errors.New("no newline at its end")
	}
	return nil, err
}
