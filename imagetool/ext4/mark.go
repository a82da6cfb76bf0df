package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// A mark tells whoever meets the file system whether it is whole: the superblock,
// and the block of multiple mount protection if there is one.
type mark struct {
	name                  string
	off                   int64
	before, during, after []byte
}

type marks []mark

func (m *mark) isBefore() []byte { return m.before }
func (m *mark) isDuring() []byte { return m.during }
func (m *mark) isAfter() []byte  { return m.after }

func (t *Transaction) markings() (marks, error) {
	sb := t.fs().sb
	list := marks{{"superblock", superOffset, sb.raw[:], sb.unclean(), t.superblock()}}
	if sb.mmpBlock() != 0 {
		m, err := t.fs().mmpMark()
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// put makes all marks be of one kind, durably, and reads them back.
func (list marks) put(ctx context.Context, dev Device, kind func(*mark) []byte) error {
	s := step{writes: func(yield func(write, error) bool) {
		for i := range list {
			if !yield(write{list[i].off, kind(&list[i])}, nil) {
				return
			}
		}
	}}
	if err := s.run(ctx, dev); err != nil {
		return fmt.Errorf("writing the %s: %w", list.names(), err)
	}
	return list.expect(dev, kind)
}

func (list marks) names() string {
	var names []string
	for _, m := range list {
		names = append(names, m.name)
	}
	return strings.Join(names, " and the ")
}

// expect fails if a mark is not of the kind, since a write was lost or somebody else
// has written to it.
func (list marks) expect(r io.ReaderAt, kind func(*mark) []byte) error {
	for i := range list {
		m := &list[i]
		got := make([]byte, len(kind(m)))
		if _, err := r.ReadAt(got, m.off); err != nil {
			return fmt.Errorf("reading back the %s: %w", m.name, err)
		}
		if !bytes.Equal(got, kind(m)) {
			return fmt.Errorf("reading back the %s: it is not what it was", m.name)
		}
	}
	return nil
}

// hide reads a device as if all marks were there as in the end.
func (list marks) hide(r io.ReaderAt) io.ReaderAt { return &hidden{r, list} }

type hidden struct {
	io.ReaderAt
	marks marks
}

func (h *hidden) ReadAt(b []byte, off int64) (int, error) {
	n, err := h.ReaderAt.ReadAt(b, off)
	for _, m := range h.marks {
		from, to := max(off, m.off), min(off+int64(n), m.off+int64(len(m.after)))
		if from < to {
			copy(b[from-off:to-off], m.after[from-m.off:])
		}
	}
	return n, err
}
