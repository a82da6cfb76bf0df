package block

import (
	"io"
	"iter"
)

// A Section is a stretch of a device as a device of its own.
type Section struct {
	Device // below
	name   string
	start  int64
	size   int64
}

// NewSection gives the stretch of size bytes from start on, which must lie inside of
// the device.
func NewSection(d Device, name string, start, size int64) *Section {
	return &Section{d, name, start, size}
}

func (s *Section) Name() string { return s.name }

func (s *Section) Size() int64 { return s.size }

// ReadAt reads like io.SectionReader.
func (s *Section) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(s.Device, s.start, s.size).ReadAt(p, off)
}

func (s *Section) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckWrite(s, off, len(p)); err != nil {
		return 0, err
	}
	return s.Device.WriteAt(p, s.start+off)
}

func (s *Section) Data(from, to int64) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for r := range s.Device.Data(s.start+from, s.start+to) {
			if !yield(Range{r.Start - s.start, r.End - s.start}) {
				return
			}
		}
	}
}
