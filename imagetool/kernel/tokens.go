package kernel

import (
	"bytes"
	"encoding/binary"
)

const (
	tokenCount = 256
	indexSize  = 2 * tokenCount // two bytes tell how far a token lies from the first
	maxToken   = 511            // KSYM_NAME_LEN, less the NUL
)

// A tokenTable has the texts that the bytes of names stand for.
type tokenTable struct {
	start, end int // of the table and its index, in .rodata
	text       [tokenCount]string
}

// tokens reads the table whose index lies at this place; nil if there is none.
func (s *search) tokens(index int) *tokenTable {
	offset := func(i int) int { return int(binary.LittleEndian.Uint16(s.b[index+2*i:])) }
	if offset(0) != 0 {
		return nil
	}
	for i := 1; i < tokenCount; i++ {
		if n := offset(i) - offset(i-1); n < 1 || n > maxToken+1 {
			return nil
		}
	}
	// How long the last token is, and so where the first one lies, is not known.
	last := offset(tokenCount - 1)
	for start := (index - last - 1) &^ (minAlign - 1); start >= 0 && start >= index-last-maxToken-maxAlign; start -= minAlign {
		if !s.spend(last) {
			return nil
		}
		if t := readTokens(s.b[start:index], offset); t != nil {
			t.start, t.end = start, index+indexSize
			return t
		}
	}
	return nil
}

// readTokens reads 256 texts, each with a NUL behind it, which have to lie where
// the index says, and to end where it begins.
func readTokens(b []byte, offset func(int) int) *tokenTable {
	t, at := new(tokenTable), 0
	for i := range tokenCount {
		n := bytes.IndexByte(b[min(at, len(b)):], 0)
		if at != offset(i) || n < 0 {
			return nil
		}
		t.text[i] = string(b[at : at+n])
		at += n + 1
	}
	if at > len(b) || len(b)-at >= maxAlign {
		return nil
	}
	return t
}

// expand appends the text of a name, up to where it is too long.
func (t *tokenTable) expand(text, name []byte) []byte {
	for _, token := range name {
		if len(text) > maxName {
			break
		}
		text = append(text, t.text[token]...)
	}
	return text
}
