package mutate

import (
	"fmt"
	"math/rand/v2"
)

// A spoiler changes a copy of an image.
type spoiler struct {
	*Image
	b   []byte
	rng *rand.Rand
}

// A value is a way to change one field.
type value struct {
	name    string
	applies func(*field) bool
	of      func(s *spoiler, o *object, f *field, old uint64) uint64
}

func anyNumber(f *field) bool { return f.isNumber() }
func refers(f *field) bool    { return f.isNumber() && f.means != plain }

var values = []value{
	{"0", anyNumber, func(*spoiler, *object, *field, uint64) uint64 { return 0 }},
	{"1", anyNumber, func(*spoiler, *object, *field, uint64) uint64 { return 1 }},
	{"max", anyNumber, func(_ *spoiler, _ *object, f *field, _ uint64) uint64 { return ^uint64(0) }},
	{"sign", anyNumber, func(_ *spoiler, _ *object, f *field, _ uint64) uint64 { return 1 << (8*f.size - 1) }},
	{"up", anyNumber, func(_ *spoiler, _ *object, _ *field, old uint64) uint64 { return old + 1 }},
	{"down", anyNumber, func(_ *spoiler, _ *object, _ *field, old uint64) uint64 { return old - 1 }},
	{"double", anyNumber, func(_ *spoiler, _ *object, _ *field, old uint64) uint64 { return old * 2 }},
	{"bit", anyNumber, func(s *spoiler, _ *object, f *field, old uint64) uint64 { return old ^ 1<<s.rng.IntN(8*f.size) }},
	{"random", anyNumber, func(s *spoiler, _ *object, _ *field, _ uint64) uint64 { return s.rng.Uint64() }},
	{"small", anyNumber, func(s *spoiler, _ *object, _ *field, _ uint64) uint64 { return s.rng.Uint64N(300) }},
	{"neighbour", anyNumber, (*spoiler).neighbour},
	{"loop", refers, (*spoiler).loop},
	{"cross link", refers, (*spoiler).crossLink},
	{"beyond", refers, (*spoiler).beyond},
	{"bytes", func(f *field) bool { return !f.isNumber() }, nil},
}

// neighbour is what another structure of the same kind has there.
func (s *spoiler) neighbour(o *object, f *field, _ uint64) uint64 {
	other := s.another(o)
	if f.off+f.size > other.size {
		return 0
	}
	return f.get(other.bytes(s.Bytes))
}

// another is a structure of the same kind, if there is another.
func (s *spoiler) another(o *object) *object {
	var others []*object
	for _, other := range s.objects {
		if other.kind == o.kind && other != o {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		return o
	}
	return others[s.rng.IntN(len(others))]
}

// loop makes a structure refer to where it lies itself.
func (s *spoiler) loop(o *object, f *field, _ uint64) uint64 {
	if f.means == toInode {
		return uint64(o.owner)
	}
	return uint64((o.at - s.start) / s.blockSize)
}

// crossLink makes a structure refer to what belongs to another.
func (s *spoiler) crossLink(_ *object, f *field, _ uint64) uint64 {
	if f.means == toBlock {
		return s.blocks[s.rng.IntN(len(s.blocks))]
	}
	if s.rng.IntN(3) == 0 && len(s.dirs) > 0 {
		return uint64(s.dirs[s.rng.IntN(len(s.dirs))])
	}
	return uint64(s.inodes[s.rng.IntN(len(s.inodes))])
}

// beyond is the first number that does not exist, or a free one.
func (s *spoiler) beyond(_ *object, f *field, _ uint64) uint64 {
	last := s.blockCount
	if f.means == toInode {
		last = uint64(s.inodeCount) + 1
	}
	return last - s.rng.Uint64N(2)
}

func (s *spoiler) field(o *object, c Case) string {
	var fit []*field
	for i := range o.fields {
		if o.fields[i].name == c.Field {
			fit = append(fit, &o.fields[i])
		}
	}
	if len(fit) == 0 {
		return ""
	}
	f := fit[s.rng.IntN(len(fit))]
	for _, v := range values {
		if v.name != c.How || !v.applies(f) {
			continue
		}
		if v.of == nil {
			return fmt.Sprintf("%s, %s: %s", o, f, s.spoilBytes(o.bytes(s.b)[f.off:][:f.size]))
		}
		old := f.get(o.bytes(s.b))
		f.put(o.bytes(s.b), v.of(s, o, f, old))
		return fmt.Sprintf("%s, %s: %s, %#x is now %#x", o, f, v.name, old, f.get(o.bytes(s.b)))
	}
	return ""
}

// spoilBytes changes one byte, or all.
func (s *spoiler) spoilBytes(p []byte) string {
	switch i := s.rng.IntN(len(p)); s.rng.IntN(4) {
	case 0:
		p[i] ^= 1 << s.rng.IntN(8)
		return fmt.Sprintf("a bit in byte %d", i)
	case 1:
		p[i] = "\x00/.\n\xff"[s.rng.IntN(5)]
		return fmt.Sprintf("byte %d is now %#x", i, p[i])
	case 2:
		clear(p)
		return "cleared"
	}
	s.random(p)
	return "random"
}

func (s *spoiler) random(p []byte) {
	for i := range p {
		p[i] = byte(s.rng.Uint32())
	}
}

// A whole is a way to change a structure without regard to its fields.
type whole struct {
	name    string
	applies func(*object) bool
	apply   func(*spoiler, *object)
}

func anyObject(*object) bool  { return true }
func isBitmap(o *object) bool { return len(o.fields) == 0 }

var wholes = []whole{
	{"cleared", anyObject, func(s *spoiler, o *object) { clear(o.bytes(s.b)) }},
	{"random", anyObject, func(s *spoiler, o *object) { s.random(o.bytes(s.b)) }},
	{"one bit", anyObject, func(s *spoiler, o *object) { s.flip(o.bytes(s.b)) }},
	{"some bits", anyObject, func(s *spoiler, o *object) {
		for range 2 + s.rng.IntN(6) {
			s.flip(o.bytes(s.b))
		}
	}},
	{"copy of another", func(o *object) bool { return o.size > 4 }, func(s *spoiler, o *object) {
		copy(o.bytes(s.b), s.another(o).bytes(s.Bytes))
	}},
	{"all set", isBitmap, func(s *spoiler, o *object) {
		for i := range o.bytes(s.b) {
			o.bytes(s.b)[i] = 0xff
		}
	}},
	{"a lie near the start", isBitmap, func(s *spoiler, o *object) { s.flip(o.bytes(s.b)[:16]) }},
}

func (s *spoiler) flip(p []byte) { p[s.rng.IntN(len(p))] ^= 1 << s.rng.IntN(8) }
