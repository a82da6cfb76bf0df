package disk

import (
	"fmt"
	"io"
	"os"
)

// A Device is one partition, or the whole, of an image or of a staged copy. It reads
// and writes inside of that only.
type Device struct {
	f     *os.File
	start int64
	size  int64
}

// ReadAt reads like io.SectionReader.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(d.f, d.start, d.size).ReadAt(p, off)
}

// WriteAt writes all of p or nothing: never past the partition's end.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size || int64(len(p)) > d.size-off {
		return 0, fmt.Errorf("writing %d bytes at %d: outside of the partition of %d bytes", len(p), off, d.size)
	}
	return d.f.WriteAt(p, d.start+off)
}

// Sync makes all that was written durable.
func (d *Device) Sync() error { return d.f.Sync() }
