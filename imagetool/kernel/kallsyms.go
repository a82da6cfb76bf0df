package kernel

import (
	"bytes"
	"encoding/binary"
)

// A symbol is an entry of kallsyms.
type symbol struct {
	addr uint64
	size uint64 // up to the next symbol that has another address; 0 for the last ones
	kind byte   // as nm(1) has it
	name string
}

// The tables of kallsyms lie one behind the other in .rodata, each aligned to
// eight bytes (write_src in scripts/kallsyms.c):
//
//	before 6.4  offsets, relative_base, num_syms, names, markers, token_table, token_index
//	from 6.4    num_syms, names, markers, token_table, token_index, offsets, relative_base
//
// Since 6.2, and where that was backported to, the order of the names
// (seqs_of_names) lies behind the markers or at the end.
//
// A name is a length and that many numbers of tokens; the first character of its
// text is the kind. A marker is the place of each 256th name.
const (
	tableAlign  = 8
	markerEvery = 256

	maxName    = 2048    // of the text, in bytes; KSYM_NAME_LEN is 512
	maxSymbols = 1 << 22 // ten times what distributions have

	// kallsymsWork bounds the search, in steps that cost about the same. A
	// kernel takes some millions.
	kallsymsWork = 1 << 28

	// kernelMap is where addresses of the kernel's image begin
	// (__START_KERNEL_map, arch/x86/include/asm/page_64_types.h).
	kernelMap = 0xffffffff80000000
)

// A search looks for the tables, of which neither the place nor a name is known.
type search struct {
	b    []byte // .rodata
	keep func(kind byte, name []byte) bool
	left int // of kallsymsWork
}

// kallsyms finds the tables and decodes the symbols that are to be kept.
func kallsyms(rodata []byte, keep func(kind byte, name []byte) bool) ([]symbol, error) {
	s := &search{rodata, keep, kallsymsWork}
	for index := 0; index+indexSize <= len(rodata) && s.spend(1); index += tableAlign {
		t := s.tokens(index)
		if t == nil {
			continue
		}
		for num := t.start - 2*tableAlign; num >= 0 && s.spend(1); num -= tableAlign {
			if list, ok := s.symbols(t, num); ok {
				return list, nil
			}
		}
	}
	return nil, ErrNoKallsyms
}

// spend says whether so much work may be done.
func (s *search) spend(n int) bool {
	s.left -= n
	return s.left >= 0
}

// symbols reads the tables, if the number of symbols lies at this place. Whether
// it does is seen from the names: there are as many, and the markers fit.
func (s *search) symbols(t *tokenTable, num int) ([]symbol, bool) {
	n := int(binary.LittleEndian.Uint32(s.b[num:]))
	names := s.b[num+tableAlign : t.start]
	if n < 1 || n > min(maxSymbols, len(names)) || binary.LittleEndian.Uint32(s.b[num+4:]) != 0 {
		return nil, false
	}
	if !s.checkNames(names, n) {
		return nil, false
	}
	size := alignInt(4*n) + 8 // of offsets and relative_base
	if num >= size {
		if list, ok := s.decode(t, names, s.b[num-size:num], n); ok {
			return list, true
		}
	}
	if len(s.b)-t.end >= size {
		return s.decode(t, names, s.b[t.end:t.end+size], n)
	}
	return nil, false
}

// checkNames walks over n names and compares the markers behind them.
func (s *search) checkNames(b []byte, n int) bool {
	var markers []byte
	at := 0
	for i := range n {
		if !s.spend(1) {
			return false
		}
		if i%markerEvery == 0 {
			markers = binary.LittleEndian.AppendUint32(markers, uint32(at))
		}
		length, size := nameLen(b[at:])
		if length == 0 || length > len(b)-at-size {
			return false
		}
		at += size + length
	}
	at = alignInt(at)
	return at <= len(b) && bytes.HasPrefix(b[at:], markers)
}

// nameLen reads the length of a name, one or two bytes in ULEB128. No name has
// length 0.
func nameLen(b []byte) (length, size int) {
	switch {
	case len(b) >= 1 && b[0]&0x80 == 0:
		return int(b[0]), 1
	case len(b) >= 2 && b[1]&0x80 == 0:
		return int(b[0]&0x7f) | int(b[1])<<7, 2
	}
	return 0, 0
}

// decode puts the n names, which were checked, to the addresses of a table.
func (s *search) decode(t *tokenTable, names, offsets []byte, n int) ([]symbol, bool) {
	addr, ok := addresses(offsets, n)
	if !ok || !s.spend(n) {
		return nil, false
	}
	var list []symbol
	var text []byte
	last := uint64(0)
	for i := range n {
		length, size := nameLen(names)
		text = t.expand(text[:0], names[size:size+length])
		names = names[size+length:]
		a := addr(i)
		if a < last || len(text) < 2 || len(text) > maxName || !s.spend(len(text)) {
			return nil, false
		}
		if a > last {
			setSizes(list, last, a)
		}
		last = a
		if s.keep(text[0], text[1:]) {
			list = append(list, symbol{addr: a, kind: text[0], name: string(text[1:])})
		}
	}
	return list, true
}

// setSizes completes the symbols at an address, which are the last ones of the list.
func setSizes(list []symbol, addr, next uint64) {
	for i := len(list) - 1; i >= 0 && list[i].addr == addr; i-- {
		list[i].size = next - addr
	}
}

// addresses reads the offsets of n symbols and the base behind them. Symbols are
// sorted by their addresses.
//
// With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, as on x86-64 before 6.15, an offset that is
// not negative is an address itself, and others count down from base - 1.
func addresses(table []byte, n int) (addr func(i int) uint64, ok bool) {
	base := binary.LittleEndian.Uint64(table[alignInt(4*n):])
	if base < kernelMap {
		return nil, false
	}
	offset := func(i int) uint32 { return binary.LittleEndian.Uint32(table[4*i:]) }
	for i := range n {
		if int32(offset(i)) < 0 {
			return func(i int) uint64 {
				if o := int32(offset(i)); o < 0 {
					return base - 1 - uint64(int64(o))
				}
				return uint64(offset(i))
			}, true
		}
	}
	return func(i int) uint64 { return base + uint64(offset(i)) }, true
}

func alignInt(n int) int { return (n + tableAlign - 1) &^ (tableAlign - 1) }
