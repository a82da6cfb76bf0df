package archive

import (
	"errors"
	"fmt"
	"io"
)

// Bounds on what one member may make a reader hold, beside the map of a sparse one.
const (
	// maxExtended is also what archive/tar takes. Linux has no more than 64 KiB in the
	// value of an attribute, and none in a name.
	maxExtended = 1 << 20
	maxName     = 64 << 10 // of GNU's long names; PATH_MAX is 4096
)

// An Error says what is wrong with an archive, and where.
type Error struct {
	Offset int64  // of the member
	Name   string // of the member, if that is known
	Err    error
}

func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("%s, at byte %d: %v", e.Name, e.Offset, e.Err)
}

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// A RefusedError is for what readers of archives do not agree about, or what is in no
// archive that can be signed by itself.
type RefusedError struct {
	Reason string
	Hint   string
}

func (e *RefusedError) Error() string { return e.Reason }

// Advice is the hint.
func (e *RefusedError) Advice() string { return e.Hint }

func refuse(hint, format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...), hint}
}

// Hints of refusals; their commands work as they stand, with ARCHIVE, FIRST and SECOND for
// what is there.
const (
	hintAgain  = `unpack it and make it anew: 'mkdir FOLDER && tar --xattrs --xattrs-include="*" -xpf ARCHIVE -C FOLDER && ` + hintMake
	hintVolume = `unpack all volumes and make one archive of them: 'mkdir FOLDER && tar --multi-volume -xpf FIRST -f SECOND -C FOLDER && ` + hintMake
	hintMake   = `tar --format=pax --xattrs --xattrs-include="*" -cf NEW.tar -C FOLDER .'`
	hintEnd    = "sign each of the archives by itself: readers that stop at the end of the first never see the others"
)

var errTruncated = errors.New("the archive ends within a member")

// A Reader reads an archive from its beginning to its end. After a Next it is the data of
// that member; what of it is not read is skipped by the next one. After the last member
// comes the end.
type Reader struct {
	in   io.Reader
	at   int64 // how much has been read
	left int64 // of the data of the member, with its padding
	end  []byte
	done bool

	empty bool // it has no member
}

// NewReader reads the archive from in, in whole blocks for the most part.
func NewReader(in io.Reader) *Reader { return &Reader{in: in} }

// Offset is how many bytes of the archive have been read.
func (r *Reader) Offset() int64 { return r.at }

// Read gives the data of the member, with what pads its last block.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.left)])
	r.at, r.left = r.at+int64(n), r.left-int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if n == 0 {
			err = &Error{Offset: r.at, Err: errTruncated}
		}
	}
	return n, err
}

// Next gives the next member; io.EOF after the last. A global header is one of its own.
func (r *Reader) Next() (*Member, error) {
	if r.done {
		return nil, io.EOF
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
		return nil, err
	}
	m := &Member{Offset: r.at, pax: -1}
	if err := r.next(m); errors.Is(err, io.EOF) {
		r.done, r.empty = true, m.Offset == 0
		return nil, io.EOF
	} else if err != nil {
		return nil, &Error{m.Offset, m.Name, err}
	}
	r.left = padded(m.Stored)
	return m, nil
}

// next reads header after header, up to the member's own. io.EOF is the end of the
// archive.
func (r *Reader) next(m *Member) error {
	var long longNames
	for {
		b, err := r.block()
		if errors.Is(err, io.EOF) || err == nil && isZero(b) {
			if len(m.head) > 0 {
				return errTruncated
			}
			r.end = b
			return io.EOF
		}
		if err != nil {
			return err
		}
		if !b.valid() {
			return errors.New("a header has a wrong checksum")
		}
		at := len(m.head)
		m.head = append(m.head, b...)
		switch b.typeflag() {
		case typeGlobal:
			return r.global(m, b)
		case typePax:
			err = r.pax(m, b, at)
		case typeNameL:
			err = r.longName(m, b, &long.name)
		case typeLinkL:
			err = r.longName(m, b, &long.link)
		default:
			m.main = at
			return r.own(m, b, long)
		}
		if err != nil {
			return err
		}
	}
}

// longNames are what GNU tar's members of their own say of the next one.
type longNames struct{ name, link *string }

// block reads one block; io.EOF if there is no byte of it.
func (r *Reader) block() (block, error) {
	b := make(block, BlockSize)
	n, err := io.ReadFull(r.in, b)
	r.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errTruncated
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// extension reads the data of a header that belongs to the next one.
func (r *Reader) extension(m *Member, b block, limit int64) ([]byte, error) {
	size, err := number(b.size())
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("a header of type %q has %d bytes, more than %d", b.typeflag(), size, limit)
	}
	data := make([]byte, padded(size))
	n, err := io.ReadFull(r.in, data)
	r.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errTruncated
	} else if err != nil {
		return nil, err
	}
	m.head = append(m.head, data...)
	return data[:size], nil
}

func (r *Reader) pax(m *Member, b block, at int) error {
	if m.pax >= 0 {
		return refuse(hintAgain, "a member has two extended headers")
	}
	data, err := r.extension(m, b, maxExtended)
	if err != nil {
		return err
	}
	m.pax = at
	m.records, err = parseRecords(data)
	return err
}

func (r *Reader) longName(m *Member, b block, to **string) error {
	if *to != nil {
		return refuse(hintAgain, "a member has two long names")
	}
	data, err := r.extension(m, b, maxName)
	name := string(cString(data))
	*to = &name
	return err
}

// global reads a header for all members that follow, as a member of its own.
func (r *Reader) global(m *Member, b block) error {
	if len(m.head) > BlockSize {
		return refuse(hintAgain, "a global header stands between a member and what belongs to it")
	}
	data, err := r.extension(m, b, maxExtended)
	if err != nil {
		return err
	}
	m.kind = typeGlobal
	records, err := parseRecords(data)
	if err != nil {
		return err
	}
	if err := checkGlobal(records); err != nil {
		return refuse(hintAgain, "%v", err)
	}
	return nil
}

// CopyEnd hands on what stands behind the last member: zeros, as a rule, and nothing that
// a reader could take for members.
func (r *Reader) CopyEnd(w io.Writer) error {
	b, at := block(r.end), r.at-int64(len(r.end))
	for len(b) > 0 {
		if len(b) == BlockSize && b.valid() {
			return &Error{Offset: at, Err: refuse(hintEnd, "behind the end of the archive there is another one, or a part of one")}
		}
		if r.empty && !isZero(b) {
			return &Error{Offset: at, Err: errors.New("it begins like an empty archive, but is none: not all of it is zeros")}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = make(block, BlockSize)
		n, err := io.ReadFull(r.in, b)
		at, r.at, b = r.at, r.at+int64(n), b[:n]
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	return nil
}
