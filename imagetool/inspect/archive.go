package inspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// An ArchiveReport is what can be learned about a tar archive, also of one that cannot be
// signed.
type ArchiveReport struct {
	Members int    `json:"members"` // as far as it can be read
	Links   int    `json:"links"`   // hard links
	Labels  Labels `json:"labels"`  // of regular files
	Problem error  `json:"-"`       // that keeps it from being signed
}

// Archive reads an archive to its end.
func Archive(ctx context.Context, in io.Reader) (*ArchiveReport, error) {
	a := &ArchiveReport{Labels: Labels{KeyIDs: map[string]int{}}}
	r := archive.NewReader(bufio.NewReaderSize(in, 256<<10))
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			a.Problem = err
			return a, nil
		}
		a.add(m)
	}
	a.Problem = r.CopyEnd(io.Discard)
	if n := a.Labels.EVM; a.Problem == nil && n > 0 {
		a.Problem = fmt.Errorf("%d files: %w", n, fsys.ErrEVM)
	}
	return a, nil
}

func (a *ArchiveReport) add(m *archive.Member) {
	a.Members++
	if m.IsHardLink() {
		a.Links++
	}
	if !m.IsFile() {
		return
	}
	a.Labels.Files++
	if m.HasEVM() {
		a.Labels.EVM++
	}
	a.Labels.count(m.Plain(), m.Plain() != nil)
}
