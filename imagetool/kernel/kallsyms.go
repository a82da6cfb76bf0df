package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// A symbol is an entry of kallsyms.
type symbol struct {
	addr uint64
	kind byte // as nm(1) has it
	name string
}

// The tables of kallsyms lie one behind the other in .rodata, each aligned to
// eight bytes (write_src in scripts/kallsyms.c):
//
//	before 6.4  offsets, relative_base, num_syms, names, markers, token_table, token_index
//	from 6.4    num_syms, names, markers, token_table, token_index, offsets, relative_base
//
// Since 6.2, and where that was backported, the order of the names
// (seqs_of_names) lies behind the markers or at the end.
//
// A name is a length and that many numbers of tokens; the first character of the
// text is the kind. A marker is the place of each 256th name.
const (
	tableAlign  = 8
	tokens      = 256
	indexSize   = 2 * tokens
	markerEvery = 256

	maxToken   = 511     // KSYM_NAME_LEN
	maxName    = 2048    // of the text of a symbol
	minSymbols = 2       //
	maxSymbols = 1 << 22 // ten times what distributions have

	// maxWalk bounds the names that are looked at in the search for the table.
	maxWalk = 1 << 25

	// kernelMap is where addresses of the kernel's image begin
	// (__START_KERNEL_map, arch/x86/include/asm/page_64_types.h).
	kernelMap = 0xffffffff80000000
)

var errNotHere = errors.New("no such table here")

// kallsyms finds and decodes the symbols.
func kallsyms(rodata []byte) ([]symbol, error) {
	walk := maxWalk
	for at := 0; at+indexSize <= len(rodata); at += tableAlign {
		t, ok := findTokens(rodata, at)
		if !ok {
			continue
		}
		for num := t.start - tableAlign; num >= 0 && walk > 0; num -= tableAlign {
			if list, ok := decode(rodata, t, num, &walk); ok {
				return list, nil
			}
		}
	}
	return nil, ErrNoKallsyms
}

// A tokenTable is what the numbers in names stand for.
type tokenTable struct {
	start, end int // of both tables together
	text       [tokens]string
}

// findTokens reads the token table whose index begins at a place, if there is one.
// The index tells how far the beginning of each token lies from the table's start.
func findTokens(b []byte, index int) (*tokenTable, bool) {
	offset := func(i int) int { return int(binary.LittleEndian.Uint16(b[index+2*i:])) }
	if offset(0) != 0 || offset(1) == 0 {
		return nil, false
	}
	for i := 1; i < tokens; i++ {
		if n := offset(i) - offset(i-1); n < 1 || n > maxToken+1 {
			return nil, false
		}
	}
	last := offset(tokens - 1)
	for start := (index - last - 1) &^ (tableAlign - 1); start >= 0 && start >= index-last-maxToken-tableAlign; start -= tableAlign {
		if t, ok := readTokens(b, start, index, offset); ok {
			return t, true
		}
	}
	return nil, false
}

// readTokens reads a token table from its start, and holds it to its index.
func readTokens(b []byte, start, index int, offset func(int) int) (*tokenTable, bool) {
	t := &tokenTable{start: start, end: index + indexSize}
	at := start
	for i := range tokens {
		if at != start+offset(i) || at >= index {
			return nil, false
		}
		n := bytes.IndexByte(b[at:min(index, at+maxToken+1)], 0)
		if n < 0 {
			return nil, false
		}
		t.text[i] = string(b[at : at+n])
		at += n + 1
	}
	return t, alignInt(at) == index
}

// decode reads the symbols if the number of symbols lies at a place. Whether it
// does is seen from the names: they are as many, and the markers fit.
func decode(b []byte, t *tokenTable, num int, walk *int) ([]symbol, bool) {
	n := int(binary.LittleEndian.Uint32(b[num:]))
	if n < minSymbols || n > maxSymbols || binary.LittleEndian.Uint32(b[num+4:]) != 0 {
		return nil, false
	}
	names := num + tableAlign
	if n > t.start-names {
		return nil, false
	}
	end, ok := checkNames(b[:t.start], names, n, walk)
	if !ok {
		return nil, false
	}
	_ = end
	offsets := [][]byte{}
	if before := num - tableAlign - alignInt(4*n); before >= 0 {
		offsets = append(offsets, b[before:num])
	}
	if t.end+alignInt(4*n)+8 <= len(b) {
		offsets = append(offsets, b[t.end:t.end+alignInt(4*n)+8])
	}
	for _, table := range offsets {
		if addrs, ok := addresses(table, n); ok {
			return expand(b[names:], t, addrs)
		}
	}
	return nil, false
}

// nameLen reads the length of a name, one or two bytes in ULEB128.
func nameLen(b []byte) (length, size int, ok bool) {
	switch {
	case len(b) >= 1 && b[0]&0x80 == 0:
		return int(b[0]), 1, b[0] > 0
	case len(b) >= 2 && b[1]&0x80 == 0:
		return int(b[0]&0x7f) | int(b[1])<<7, 2, true
	}
	return 0, 0, false
}

// checkNames walks over n names and compares the markers behind them.
func checkNames(b []byte, names, n int, walk *int) (end int, ok bool) {
	var markers []byte
	at := names
	for i := range n {
		if *walk--; *walk < 0 {
			return 0, false
		}
		if i%markerEvery == 0 {
			markers = binary.LittleEndian.AppendUint32(markers, uint32(at-names))
		}
		length, size, ok := nameLen(b[at:])
		if !ok || length > len(b)-at-size {
			return 0, false
		}
		at += size + length
	}
	at = alignInt(at)
	return at, at <= len(b) && bytes.HasPrefix(b[at:], markers)
}

// addresses reads the offsets of n symbols and the base behind them. Symbols are
// sorted by their addresses.
//
// With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, as on x86-64 before 6.15, an offset that is
// not negative is an address itself, and others count down from base - 1.
func addresses(table []byte, n int) ([]uint64, bool) {
	base := binary.LittleEndian.Uint64(table[alignInt(4*n):])
	if base < kernelMap {
		return nil, false
	}
	addrs := make([]uint64, n)
	percpu := false
	for i := range addrs {
		percpu = percpu || table[4*i+3]&0x80 != 0
	}
	for i := range addrs {
		offset := binary.LittleEndian.Uint32(table[4*i:])
		switch {
		case !percpu:
			addrs[i] = base + uint64(offset)
		case int32(offset) >= 0:
			addrs[i] = uint64(offset)
		default:
			addrs[i] = base - 1 - uint64(int64(int32(offset)))
		}
		if i > 0 && addrs[i] < addrs[i-1] {
			return nil, false
		}
	}
	return addrs, true
}

// expand puts the texts of names that checkNames walked over to their addresses.
func expand(names []byte, t *tokenTable, addrs []uint64) ([]symbol, bool) {
	list := make([]symbol, len(addrs))
	var text []byte
	for i, addr := range addrs {
		length, size, _ := nameLen(names)
		text = text[:0]
		for _, token := range names[size : size+length] {
			text = append(text, t.text[token]...)
			if len(text) > maxName {
				return nil, false
			}
		}
		if len(text) < 2 {
			return nil, false
		}
		list[i] = symbol{addr, text[0], string(text[1:])}
		names = names[size+length:]
	}
	return list, true
}

func alignInt(n int) int { return (n + tableAlign - 1) &^ (tableAlign - 1) }
