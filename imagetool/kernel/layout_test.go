package kernel

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"
)

// A layout is one of the ways in which scripts/kallsyms.c has written its tables.
type layout struct {
	offsetsFirst bool // in front of the names, not behind the tokens
	percpu       bool // CONFIG_KALLSYMS_ABSOLUTE_PERCPU
	seqs         int  // bytes for each symbol in kallsyms_seqs_of_names
	seqsLast     bool
}

// layouts by the first version that has them.
var layouts = map[string]layout{
	"4.6":     {offsetsFirst: true, percpu: true},
	"6.1.192": {offsetsFirst: true, percpu: true, seqs: 4},
	"6.2":     {offsetsFirst: true, percpu: true, seqs: 3},
	"6.4":     {percpu: true, seqs: 3, seqsLast: true},
	"6.15":    {seqs: 3, seqsLast: true},
}

// encode writes the tables. It has a token for each byte that names have, and for
// the other bytes pairs that are common in names.
func (l layout) encode(t testing.TB, symbols []symbol) []byte {
	t.Helper()
	symbols = slices.Clone(symbols)
	slices.SortStableFunc(symbols, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	e := newEncoder(symbols)
	var offsets, names, markers, tokens, index, seqs []byte
	base := uint64(0)
	for _, s := range symbols {
		if base == 0 && (s.addr >= kernelMap || !l.percpu) {
			base = s.addr
		}
	}
	for i, s := range symbols {
		offset := s.addr - base
		switch {
		case l.percpu && s.addr < kernelMap:
			offset = s.addr
		case l.percpu:
			offset = base - 1 - s.addr
		}
		offsets = binary.LittleEndian.AppendUint32(offsets, uint32(offset))
		if i%256 == 0 {
			markers = binary.LittleEndian.AppendUint32(markers, uint32(len(names)))
		}
		name := e.name(string(s.kind) + s.name)
		if len(name) > 0x7f {
			names = append(names, byte(len(name))|0x80, byte(len(name)>>7))
		} else {
			names = append(names, byte(len(name)))
		}
		names = append(names, name...)
		seqs = append(seqs, make([]byte, l.seqs)...)
	}
	for _, token := range e.tokens {
		index = binary.LittleEndian.AppendUint16(index, uint16(len(tokens)))
		tokens = append(append(tokens, token...), 0)
	}
	num := binary.LittleEndian.AppendUint32(nil, uint32(len(symbols)))
	where := binary.LittleEndian.AppendUint64(nil, base)
	order := [][]byte{num, names, markers, tokens, index, offsets, where}
	if l.offsetsFirst {
		order = [][]byte{offsets, where, num, names, markers, tokens, index}
	}
	if l.seqsLast {
		order = append(order, seqs)
	} else {
		order = slices.Insert(order, slices.IndexFunc(order, func(b []byte) bool { return &b[0] == &tokens[0] }), seqs)
	}
	var out []byte
	for _, table := range order {
		out = append(out, table...)
		out = append(out, make([]byte, alignInt(len(out))-len(out))...)
	}
	return out
}

type encoder struct {
	tokens [256]string
	byText map[string]byte
}

func newEncoder(symbols []symbol) *encoder {
	e := &encoder{byText: map[string]byte{}}
	pairs := map[string]int{}
	add := func(b int, text string) {
		e.tokens[b] = text
		e.byText[text] = byte(b)
	}
	for _, s := range symbols {
		text := string(s.kind) + s.name
		for i := range len(text) {
			add(int(text[i]), text[i:i+1])
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
	for b := range e.tokens {
		if e.tokens[b] == "" && len(common) > 0 {
			add(b, common[0])
			common = common[1:]
		}
	}
	return e
}

// name encodes a text, with the longest token at each place.
func (e *encoder) name(text string) (out []byte) {
	for len(text) > 0 {
		n := min(2, len(text))
		b, ok := e.byText[text[:n]]
		if !ok {
			n = 1
			b = e.byText[text[:n]]
		}
		out = append(out, b)
		text = text[n:]
	}
	return out
}
