package lvm

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/internal/lvmtest"
)

// A memory is a physical volume as a device.
type memory struct {
	*lvmtest.Physical
	name string
}

func (m *memory) Name() string                              { return m.name }
func (m *memory) Size() int64                               { return int64(len(m.Bytes)) }
func (m *memory) Sync() error                               { return nil }
func (m *memory) Forget() error                             { return nil }
func (m *memory) WriteAt([]byte, int64) (int, error)        { panic("it is written to") }
func (m *memory) Data(from, to int64) iter.Seq[block.Range] { panic("it is searched") }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(bytes.NewReader(m.Bytes), 0, m.Size()).ReadAt(p, off)
}

const mib = lvmtest.MiB

func newMemory(n int, size int64) *memory {
	return &memory{lvmtest.New(n, make([]byte, size)), fmt.Sprintf("partition %d", n)}
}

// scan reads devices, each of which has to be a physical volume.
func scan(t testing.TB, devices ...*memory) (*Scan, []*Group) {
	t.Helper()
	s := NewScan()
	for _, d := range devices {
		if _, err := s.Read(d); err != nil {
			t.Fatal(err)
		}
	}
	return s, s.Groups()
}
