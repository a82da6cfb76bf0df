package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// inMemory is how much of a member is held in memory.
const inMemory = 256 << 10

// A spool holds the data of one member until it is written: in memory, or in a file without
// a name from inMemory bytes on.
type spool struct {
	start bytes.Buffer
	file  *os.File
	size  int64
}

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.file == nil && s.size <= inMemory {
		return s.start.Write(p)
	}
	if s.file == nil {
		if err := s.moveOut(); err != nil {
			return 0, err
		}
	}
	n, err := s.file.Write(p)
	if err != nil {
		err = fmt.Errorf("spooling to %s: %w", os.TempDir(), err)
	}
	return n, err
}

func (s *spool) moveOut() error {
	f, err := os.CreateTemp("", "vmseal-")
	if err != nil {
		return err
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	_, err = f.Write(s.start.Bytes())
	s.start = bytes.Buffer{}
	return err
}

// Reader reads all of it from the beginning.
func (s *spool) Reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.start.Bytes())
	}
	return io.NewSectionReader(s.file, 0, s.size)
}

func (s *spool) Close() error {
	s.start = bytes.Buffer{}
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
