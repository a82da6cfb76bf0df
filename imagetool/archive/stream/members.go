package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/signer"
)

// Holes cost nothing in the archive and an hour to read. What is to be read may be
// sparseRatio times as large as the archive up to there, and sparseSlack more: as for an
// image.
const (
	sparseRatio = 16
	sparseSlack = 1 << 30
)

// A SparseError says that the files are far larger than the archive, so that reading them
// would take longer than anybody meant it to.
type SparseError struct {
	Path  string // the file that is too much
	Size  int64
	Limit int64
}

func (e *SparseError) Error() string {
	return fmt.Sprintf("%s: it holds %d bytes, most of them holes; with it more than %d are to be read of the archive up to there", e.Path, e.Size, e.Limit)
}

// A members is an archive that is read member by member, and held to what does not depend
// on what is done with them.
type members struct {
	*archive.Reader
	action      func(paths []string) signer.Action
	allowSparse bool
	expanded    int64  // size of all files so far
	count       uint64 // members so far
}

func newMembers(in io.Reader, action func([]string) signer.Action, allowSparse bool) *members {
	return &members{Reader: archive.NewReader(bufio.NewReaderSize(in, 256<<10)), action: action, allowSparse: allowSparse}
}

// next gives the next member.
func (r *members) next() (*archive.Member, error) {
	m, err := r.Next()
	if err != nil {
		return nil, err
	}
	r.count++
	switch {
	case m.IsHardLink():
		return m, r.checkLink(m)
	case m.IsFile() && r.action([]string{m.Path()}) != signer.ActionSkip:
		return m, r.checkSparse(m)
	}
	return m, nil
}

func (r *members) checkSparse(m *archive.Member) error {
	if r.allowSparse {
		return nil
	}
	r.expanded += min(m.Size, math.MaxInt64-r.expanded)
	read := r.Offset() + m.Stored
	limit := int64(math.MaxInt64)
	if read <= (math.MaxInt64-sparseSlack)/sparseRatio {
		limit = sparseRatio*read + sparseSlack
	}
	if r.expanded > limit {
		return &SparseError{m.Path(), m.Size, limit}
	}
	return nil
}

// checkLink holds the rules for another name of a file to those for the name that it was
// written under.
func (r *members) checkLink(m *archive.Member) error {
	first := r.action([]string{m.Target()})
	if all := r.action([]string{m.Target(), m.Path()}); all > first {
		return &LinkError{m.Path(), m.Target(), all, first}
	}
	return nil
}

// A LinkError says that the rules want more of a file under a name that comes too late.
type LinkError struct {
	Path, Target string
	Want, Was    signer.Action
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("the rules say %s for %s, but it is a hard link to %s, for which they say %s and which comes before it in the archive",
		e.Want, e.Path, e.Target, e.Was)
}

// isEnd tells the end of the archive from what went wrong.
func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// file describes the member that was read last. What its number is to an inode, its place
// among all members is to a file here, before and after it was signed.
func (r *members) file(m *archive.Member) signer.File {
	return signer.File{
		Paths: []string{m.Path()}, Inode: r.count, Size: m.Size,
		Mode: m.StatMode(), UID: m.UID, GID: m.GID, Links: 1,
	}
}
