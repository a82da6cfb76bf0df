package fakekernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// A Symbol of kallsyms. Those below Text are absolute: of per-CPU data.
type Symbol struct {
	Addr uint64
	Kind byte // as nm(1) has it
	Name string
}

// A Layout is one of the ways in which scripts/kallsyms.c has written its tables.
type Layout struct {
	OffsetsFirst bool // in front of the names, not behind the tokens
	PerCPU       bool // CONFIG_KALLSYMS_ABSOLUTE_PERCPU
	Seqs         int  // bytes for each symbol in kallsyms_seqs_of_names
	SeqsLast     bool // behind all tables, not behind the markers
	OwnPlace     bool // offsets count from their own places, and there is no base
	Align        int  // of the tables; 0: 8
}

// Layouts by the first version that has them.
var Layouts = map[string]Layout{
	"4.6":     {OffsetsFirst: true, PerCPU: true},
	"6.1.192": {OffsetsFirst: true, PerCPU: true, Seqs: 4},
	"6.2":     {OffsetsFirst: true, PerCPU: true, Seqs: 3},
	"6.4":     {PerCPU: true, Seqs: 3, SeqsLast: true},
	"6.15":    {Seqs: 3, SeqsLast: true},
	"7.0":     {Seqs: 3, SeqsLast: true, OwnPlace: true},
	"7.1":     {Seqs: 3, SeqsLast: true, OwnPlace: true, Align: 4},
}

// Sort brings symbols into the order in which they are written.
func Sort(symbols []Symbol) {
	slices.SortStableFunc(symbols, func(a, b Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
}

// Encode writes the tables as they are to lie at an address.
func (l Layout) Encode(symbols []Symbol, at uint64) []byte {
	symbols = slices.Clone(symbols)
	Sort(symbols)
	tokens, index := tokensFor(symbols)
	var names, markers []byte
	for i, s := range symbols {
		if i%256 == 0 {
			markers = binary.LittleEndian.AppendUint32(markers, uint32(len(names)))
		}
		name := tokens.encode(string(s.Kind) + s.Name)
		if len(name) > 0x7f {
			names = append(names, byte(len(name))|0x80, byte(len(name)>>7))
		} else {
			names = append(names, byte(len(name)))
		}
		names = append(names, name...)
	}
	num := binary.LittleEndian.AppendUint32(nil, uint32(len(symbols)))
	offsets, base := l.offsets(symbols)
	seqs := make([]byte, l.Seqs*len(symbols))

	var order [][]byte
	if l.OffsetsFirst {
		order = append(order, offsets, base)
	}
	order = append(order, num, names, markers)
	if !l.SeqsLast {
		order = append(order, seqs)
	}
	order = append(order, tokens.table(), index)
	if !l.OffsetsFirst {
		order = append(order, offsets, base)
	}
	if l.OwnPlace {
		order = order[:len(order)-1] // the base
	}
	if l.SeqsLast {
		order = append(order, seqs)
	}
	var out []byte
	for i, table := range order {
		if l.OwnPlace && len(table) > 0 && &table[0] == &offsets[0] {
			l.fromOwnPlace(table, symbols, at+uint64(len(out)))
		}
		out = append(out, order[i]...)
		out = append(out, make([]byte, -len(out)&(cmp.Or(l.Align, 8)-1))...)
	}
	return out
}

// fromOwnPlace makes offsets that lie at an address count from where each of them is.
func (l Layout) fromOwnPlace(offsets []byte, symbols []Symbol, at uint64) {
	for i, s := range symbols {
		binary.LittleEndian.PutUint32(offsets[4*i:], uint32(s.Addr-(at+uint64(4*i))))
	}
}

// offsets are relative to the lowest address that is not absolute.
func (l Layout) offsets(symbols []Symbol) (offsets, base []byte) {
	lowest := uint64(0)
	if i := slices.IndexFunc(symbols, func(s Symbol) bool { return s.Addr >= Text || !l.PerCPU }); i >= 0 {
		lowest = symbols[i].Addr
	}
	for _, s := range symbols {
		offset := s.Addr - lowest
		switch {
		case l.PerCPU && s.Addr < Text:
			offset = s.Addr
		case l.PerCPU:
			offset = lowest - 1 - s.Addr
		}
		offsets = binary.LittleEndian.AppendUint32(offsets, uint32(offset))
	}
	return offsets, binary.LittleEndian.AppendUint64(nil, lowest)
}

// tokens are what the bytes of names stand for.
type tokens [256]string

// tokensFor makes a token of each byte that names have, and of the other ones
// pairs that are common in names.
func tokensFor(symbols []Symbol) (t *tokens, index []byte) {
	t = new(tokens)
	pairs := map[string]int{}
	for _, s := range symbols {
		text := string(s.Kind) + s.Name
		for i := range len(text) {
			t[text[i]] = text[i : i+1]
			if i > 0 {
				pairs[text[i-1:i+1]]++
			}
		}
	}
	var common []string
	for pair := range pairs {
		common = append(common, pair)
	}
	slices.SortFunc(common, func(a, b string) int { return cmp.Or(cmp.Compare(pairs[b], pairs[a]), cmp.Compare(a, b)) })
	at := 0
	for b := range t {
		if t[b] == "" && len(common) > 0 {
			t[b], common = common[0], common[1:]
		}
		index = binary.LittleEndian.AppendUint16(index, uint16(at))
		at += len(t[b]) + 1
	}
	return t, index
}

func (t *tokens) table() (b []byte) {
	for _, text := range t {
		b = append(append(b, text...), 0)
	}
	return b
}

// encode takes the longest token at each place.
func (t *tokens) encode(text string) (out []byte) {
	for len(text) > 0 {
		n := min(2, len(text))
		b := slices.Index(t[:], text[:n])
		if b < 0 {
			n, b = 1, slices.Index(t[:], text[:1])
		}
		out = append(out, byte(b))
		text = text[n:]
	}
	return out
}

// pad gives a copy that is as long as a multiple of eight bytes.
func pad(b []byte) []byte { return append(bytes.Clone(b), make([]byte, -len(b)&7)...) }
