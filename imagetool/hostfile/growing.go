package hostfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vmseal/vmseal/imagetool/undo"
)

// Growing is a regular file whose end moves with what is written. What is read beyond it
// is zeros.
type Growing struct {
	f *os.File
}

var _ undo.Truncater = Growing{}

// Growing gives the file, which has to be locked for writing. A block device has an end
// that stays.
func (m *File) Growing() (Growing, error) {
	if m.isBlockDevice() {
		return Growing{}, fmt.Errorf("%s: a block device cannot grow", m.Name())
	}
	return Growing{m.handle.f}, nil
}

// ReadAt always fills p.
func (g Growing) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		n, err = len(p), nil
	}
	return n, err
}

func (g Growing) WriteAt(p []byte, off int64) (int, error) { return g.f.WriteAt(p, off) }

// Sync makes size and contents durable.
func (g Growing) Sync() error { return g.f.Sync() }

// Forget drops the file's pages.
func (g Growing) Forget() error { return Forget(g.f) }

// Truncate moves the end.
func (g Growing) Truncate(size int64) error { return g.f.Truncate(size) }

// Name is what people call the file.
func (g Growing) Name() string { return g.f.Name() }
