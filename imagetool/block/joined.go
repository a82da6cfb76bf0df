package block

import (
	"io"
	"iter"
	"sort"
)

// A joined device is several stretches of another, one behind the other.
type joined struct {
	Device // below
	name   string
	size   int64
	places func(off, n int64) iter.Seq[Range]
}

// Join gives stretches of a device as a device of its own. All of them must lie inside of
// the device.
func Join(d Device, name string, parts []Range) Device {
	if len(parts) == 1 {
		return NewSection(d, name, parts[0].Start, parts[0].End-parts[0].Start)
	}
	size := int64(0)
	for _, p := range parts {
		size += p.End - p.Start
	}
	return &joined{d, name, size, Places(parts)}
}

// Places gives a function that lists where n bytes at an offset of joined parts lie, in
// their order. What is behind the end lies nowhere.
func Places(parts []Range) func(off, n int64) iter.Seq[Range] {
	ends, end := make([]int64, len(parts)), int64(0) // of each part, among the joined ones
	for i, p := range parts {
		end += p.End - p.Start
		ends[i] = end
	}
	return func(off, n int64) iter.Seq[Range] {
		return func(yield func(Range) bool) {
			first := sort.Search(len(parts), func(i int) bool { return ends[i] > off })
			for i, off, n := first, off, n; i < len(parts) && n > 0; i++ {
				start := parts[i].End - (ends[i] - off)
				here := min(n, parts[i].End-start)
				if !yield(Range{start, start + here}) {
					return
				}
				off, n = off+here, n-here
			}
		}
	}
}

func (j *joined) Name() string { return j.name }

func (j *joined) Size() int64 { return j.size }

func (j *joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, io.EOF // as io.SectionReader has it
	}
	for r := range j.places(off, int64(len(p))) {
		k, err := j.Device.ReadAt(p[n:n+int(r.End-r.Start)], r.Start)
		if n += k; int64(k) < r.End-r.Start {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (j *joined) WriteAt(p []byte, off int64) (n int, err error) {
	if err := CheckWrite(j, off, len(p)); err != nil {
		return 0, err
	}
	for r := range j.places(off, int64(len(p))) {
		k, err := j.Device.WriteAt(p[n:n+int(r.End-r.Start)], r.Start)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (j *joined) Data(from, to int64) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		at := from
		for r := range j.places(from, to-from) {
			for d := range j.Device.Data(r.Start, r.End) {
				if !yield(Range{at + d.Start - r.Start, at + d.End - r.Start}) {
					return
				}
			}
			at += r.End - r.Start
		}
	}
}
