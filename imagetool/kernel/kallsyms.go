package kernel

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A symbol is an entry of kallsyms.
type symbol struct {
	addr uint64
	size uint64 // up to the next symbol that has another address; 0 for the last ones
	kind byte   // as nm(1) has it
	name string
}

// The tables of kallsyms lie one behind the other in .rodata (write_src in
// scripts/kallsyms.c):
//
//	before 6.4  offsets, relative_base, num_syms, names, markers, token_table, token_index
//	from 6.4    num_syms, names, markers, token_table, token_index, offsets, relative_base
//	from 7.0    the same without relative_base: an offset counts from its own place
//
// Each is aligned to eight bytes, from 7.1 on to four. Since 6.2, and where that was
// backported to, the order of the names (seqs_of_names) lies behind the markers or at
// the end.
//
// A name is a length and that many numbers of tokens; the first character of its
// text is the kind. A marker is the place of each 256th name.
const (
	minAlign, maxAlign = 4, 8
	markerEvery        = 256

	maxName    = 2048    // of the text, in bytes; KSYM_NAME_LEN is 512
	maxSymbols = 1 << 22 // ten times what distributions have

	// minSymbols is less than any kernel has: the smallest has ten times as many. What
	// looks like a table with fewer is something else.
	minSymbols = 2000

	// kallsymsWork bounds the search, in steps that cost about the same. A
	// kernel takes some millions.
	kallsymsWork = 1 << 28

	// kernelMap is where addresses of the kernel's image begin
	// (__START_KERNEL_map, arch/x86/include/asm/page_64_types.h).
	kernelMap = 0xffffffff80000000
)

// everyKernel has symbols that no kernel is without (arch/x86/kernel/vmlinux.lds.S,
// init/version.c). The second is the text that begins with bannerStart.
var everyKernel = [...]string{"_text", "linux_banner"}

const bannerStart = "Linux version "

// A search looks for the tables, of which neither the place nor a name is known.
type search struct {
	b    []byte // .rodata
	addr uint64 // where that lies
	keep func(kind byte, name []byte) bool
	left int // of kallsymsWork
}

// kallsyms finds the tables in .rodata, which lies at an address, and decodes the symbols
// that are to be kept.
func kallsyms(rodata []byte, addr uint64, keep func(kind byte, name []byte) bool) ([]symbol, error) {
	s := &search{rodata, addr, keep, kallsymsWork}
	for index := 0; index+indexSize <= len(rodata) && s.spend(1); index += minAlign {
		t := s.tokens(index)
		if t == nil {
			continue
		}
		for _, align := range []int{maxAlign, minAlign} {
			for num := t.start - 2*align; num >= 0 && s.spend(1); num -= align {
				if list, ok := s.symbols(t, num, align); ok {
					return list, nil
				}
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
func (s *search) symbols(t *tokenTable, num, align int) ([]symbol, bool) {
	n := int(binary.LittleEndian.Uint32(s.b[num:]))
	names := s.b[num+align : t.start]
	if n < minSymbols || n > min(maxSymbols, len(names)) || align > 4 && binary.LittleEndian.Uint32(s.b[num+4:]) != 0 {
		return nil, false
	}
	if !s.checkNames(names, n, align) {
		return nil, false
	}
	size := alignInt(4*n, align) // of the offsets
	for _, at := range []int{num - size - 8, t.end} {
		if at < 0 || len(s.b)-at < size {
			continue
		}
		for _, addr := range s.addresses(at, n, size) {
			if list, ok := s.decode(t, names, addr, n); ok {
				return list, true
			}
		}
	}
	return nil, false
}

// checkNames walks over n names and compares the markers behind them.
func (s *search) checkNames(b []byte, n, align int) bool {
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
	at = alignInt(at, align)
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

// decode puts the n names, which were checked, to their addresses. It believes them only
// if every symbol of everyKernel is there, and the banner where its symbol is.
func (s *search) decode(t *tokenTable, names []byte, addr func(i int) uint64, n int) ([]symbol, bool) {
	if !s.spend(n) {
		return nil, false
	}
	var list []symbol
	var text []byte
	last, known := uint64(0), 0
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
		if slices.Contains(everyKernel[:], string(text[1:])) {
			known++
		}
		if string(text[1:]) == everyKernel[1] && !s.hasBanner(a) {
			return nil, false
		}
		if s.keep(text[0], text[1:]) {
			list = append(list, symbol{addr: a, kind: text[0], name: string(text[1:])})
		}
	}
	return list, known == len(everyKernel)
}

func (s *search) hasBanner(at uint64) bool {
	return at >= s.addr && at-s.addr < uint64(len(s.b)) && bytes.HasPrefix(s.b[at-s.addr:], []byte(bannerStart))
}

// setSizes completes the symbols at an address, which are the last ones of the list.
func setSizes(list []symbol, addr, next uint64) {
	for i := len(list) - 1; i >= 0 && list[i].addr == addr; i-- {
		list[i].size = next - addr
	}
}

// addresses gives the ways in which the offsets of n symbols at a place can be read: as
// relative to the base behind them, if there is one, and as relative to their own places.
// Symbols are sorted by their addresses, which tells the ways apart.
//
// With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, as on x86-64 before 6.15, an offset that is
// not negative is an address itself, and others count down from base - 1.
func (s *search) addresses(at, n, size int) (ways []func(i int) uint64) {
	offset := func(i int) uint32 { return binary.LittleEndian.Uint32(s.b[at+4*i:]) }
	if len(s.b)-at >= size+8 {
		base := binary.LittleEndian.Uint64(s.b[at+size:])
		percpu := func(i int) uint64 {
			if o := int32(offset(i)); o < 0 {
				return base - 1 - uint64(int64(o))
			}
			return uint64(offset(i))
		}
		if base >= kernelMap {
			ways = append(ways, percpu, func(i int) uint64 { return base + uint64(offset(i)) })
		}
	}
	return append(ways, func(i int) uint64 { return s.addr + uint64(at+4*i) + uint64(int64(int32(offset(i)))) })
}

func alignInt(n, to int) int { return (n + to - 1) &^ (to - 1) }
