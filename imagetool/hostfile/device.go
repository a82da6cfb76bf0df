package hostfile

import (
	"errors"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A handle is an open file as a block.Device.
type handle struct {
	f    *os.File
	size int64
}

// Device gives the first size bytes of an open file, which is written to if it was
// opened for that.
func Device(f *os.File, size int64) block.Device { return handle{f, size} }

func (h handle) Name() string { return h.f.Name() }

func (h handle) Size() int64 { return h.size }

func (h handle) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(h.f, 0, h.size).ReadAt(p, off)
}

func (h handle) WriteAt(p []byte, off int64) (int, error) {
	if err := block.CheckWrite(h, off, len(p)); err != nil {
		return 0, err
	}
	return h.f.WriteAt(p, off)
}

func (h handle) Sync() error { return h.f.Sync() }

// Forget drops the file's pages, which a file system in memory keeps all the same: they
// are its medium. Whatever else is in the way, such as another process that has mapped the
// file, costs no more than that some pages are read from memory.
func (h handle) Forget() error { return Forget(h.f) }

// Forget does so for a file that others write to, too.
func Forget(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: f.Name(), Err: err}
	}
	return nil
}

// Data asks the file system. Where it cannot tell, or for a block device, all is one
// range.
func (h handle) Data(from, to int64) iter.Seq[block.Range] {
	return func(yield func(block.Range) bool) {
		for pos := from; pos < to; {
			start, err := unix.Seek(int(h.f.Fd()), pos, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) || err == nil && start >= to { // only a hole is left
				return
			}
			if err != nil {
				yield(block.Range{Start: pos, End: to})
				return
			}
			end, err := unix.Seek(int(h.f.Fd()), start, unix.SEEK_HOLE)
			if err != nil || end <= start || end > to {
				end = to
			}
			if !yield(block.Range{Start: start, End: end}) {
				return
			}
			pos = end
		}
	}
}
