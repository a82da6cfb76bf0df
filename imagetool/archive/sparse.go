package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxFragments bounds the map of a sparse member: 4 MiB of memory.
const maxFragments = 1 << 18

var errMap = errors.New("its map of holes is damaged")

// A fragment is a part of a sparse file that has data.
type fragment struct{ offset, size int64 }

// A sparseMap is what a sparse member has of its file.
type sparseMap []fragment

func (m *sparseMap) add(f fragment) error {
	if len(*m) == maxFragments {
		return fmt.Errorf("its map of holes has more than %d entries", maxFragments)
	}
	*m = append(*m, f)
	return nil
}

// addFields takes entries as struct sparse has them: offset and number of bytes, of 12
// bytes each. One that is empty ends them.
func (m *sparseMap) addFields(b []byte) (ended bool, err error) {
	for ; len(b) >= 24; b = b[24:] {
		if b[12] == 0 {
			return true, nil
		}
		offset, err := number(b[:12])
		if err != nil {
			return false, err
		}
		size, err := number(b[12:24])
		if err != nil {
			return false, err
		}
		if err := m.add(fragment{offset, size}); err != nil {
			return false, err
		}
	}
	return false, nil
}

// addList takes a map as text: numbers that alternate between offset and size.
func (m *sparseMap) addList(numbers []string) error {
	if len(numbers)%2 != 0 {
		return errMap
	}
	for i := 0; i < len(numbers); i += 2 {
		offset, err := decimal(numbers[i])
		if err != nil {
			return err
		}
		size, err := decimal(numbers[i+1])
		if err != nil {
			return err
		}
		if err := m.add(fragment{offset, size}); err != nil {
			return err
		}
	}
	return nil
}

func decimal(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a decimal number", s)
	}
	return int64(n), nil
}

// check holds the map to the file and to what the archive has of it. GNU tar begins each
// fragment with a block of its own, and others do not: only the last may end within one.
func (m sparseMap) check(size, stored int64) error {
	end, sum := int64(0), int64(0)
	for _, f := range m {
		switch {
		case f.offset < end, f.size > size-f.offset, f.size > stored-sum:
			return errMap
		case sum%BlockSize != 0 && f.size > 0:
			return errors.New("its map of holes has a fragment that ends within a block, after which readers go on at different places")
		}
		end, sum = f.offset+f.size, sum+f.size
	}
	if sum != stored {
		return errMap
	}
	return nil
}

// readMap reads the map that begins the data of pax format 1.0: numbers, one a line, the
// first of which says how many entries follow, in whole blocks.
func readMap(data *bufio.Reader) (m sparseMap, length int64, err error) {
	next := func() (int64, error) {
		line, err := data.ReadSlice('\n')
		if err != nil || len(line) > 21 {
			return 0, errMap
		}
		length += int64(len(line))
		return decimal(string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	n, err := next()
	if err != nil {
		return nil, 0, err
	}
	for range n {
		offset, err := next()
		if err != nil {
			return nil, 0, err
		}
		size, err := next()
		if err != nil {
			return nil, 0, err
		}
		if err := m.add(fragment{offset, size}); err != nil {
			return nil, 0, err
		}
	}
	if _, err := data.Discard(int(padding(length))); err != nil {
		return nil, 0, errMap
	}
	return m, padded(length), nil
}

// expanded reads a sparse file: data where its map has some, else zeros.
type expanded struct {
	data io.Reader
	m    sparseMap // what is left of it
	at   int64
	size int64
}

func (e *expanded) Read(p []byte) (int, error) {
	for len(e.m) > 0 && e.m[0].offset+e.m[0].size <= e.at {
		e.m = e.m[1:]
	}
	switch {
	case e.at == e.size:
		return 0, io.EOF
	case len(e.m) == 0:
		return e.zeros(p, e.size), nil
	case e.at < e.m[0].offset:
		return e.zeros(p, e.m[0].offset), nil
	}
	n, err := e.data.Read(p[:min(int64(len(p)), e.m[0].offset+e.m[0].size-e.at)])
	e.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if n == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (e *expanded) zeros(p []byte, end int64) int {
	n := min(int64(len(p)), end-e.at)
	clear(p[:n])
	e.at += n
	return int(n)
}
