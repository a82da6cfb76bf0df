package block

import (
	"fmt"
	"io"
	"iter"
)

// A Device is a disk, or a part of one. Any number of goroutines may read it at once.
type Device interface {
	// ReadAt reads up to the end, which is io.EOF.
	io.ReaderAt

	// WriteAt writes inside of the device, or fails and writes nothing.
	io.WriterAt

	// Sync makes all that was written durable.
	Sync() error

	// Forget drops what the host keeps of the device in memory, as far as it is durable:
	// what is read next comes from the medium.
	Forget() error

	// Size is how many bytes there are.
	Size() int64

	// Data lists the ranges between two offsets that may hold data, in ascending order.
	// What lies between them is holes: zeros, which nobody has to read. A device that
	// cannot tell says that all of it may.
	Data(from, to int64) iter.Seq[Range]

	// Name is what people call the device: a path, or "partition 2".
	Name() string
}

// A Range is the bytes from Start up to End.
type Range struct {
	Start, End int64
}

// CheckWrite fails if n bytes at an offset would not lie inside of the device.
func CheckWrite(d Device, off int64, n int) error {
	if off < 0 || off > d.Size() || int64(n) > d.Size()-off {
		return fmt.Errorf("writing %d bytes at %d: outside of %s, which has %d bytes", n, off, d.Name(), d.Size())
	}
	return nil
}
