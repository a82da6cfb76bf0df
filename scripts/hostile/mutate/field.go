package mutate

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A meaning says what a field's number stands for.
type meaning byte

const (
	plain   meaning = iota
	toBlock         // a block of the file system
	toInode
)

// A field is one member of a structure on disk. Fields of more than 8 bytes are
// strings of bytes.
type field struct {
	name    string // as in the kernel
	off     int    // in the structure
	size    int
	means   meaning
	big     bool // big-endian
	element int  // in an array
	text    bool // a string, whatever its size
}

// layout parses a structure: members in their order as "name:size", followed by
// "b" if it refers to a block or "i" if to an inode, and by "*n" for an array.
func layout(text string) (fields []field) {
	off := 0
	for _, member := range strings.Fields(text) {
		name, kind, _ := strings.Cut(member, ":")
		kind, times, isArray := strings.Cut(kind, "*")
		f := field{name: name}
		switch {
		case strings.HasSuffix(kind, "b"):
			f.means = toBlock
		case strings.HasSuffix(kind, "i"):
			f.means = toInode
		}
		f.size = number(strings.TrimRight(kind, "bi"))
		n := 1
		if isArray {
			n = number(times)
		}
		for f.element = range n {
			f.off = off
			fields = append(fields, f)
			off += f.size
		}
	}
	return fields
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("layout: %v", err))
	}
	return n
}

func bigEndian(fields []field) []field {
	for i := range fields {
		fields[i].big = true
	}
	return fields
}

func (f *field) isNumber() bool { return f.size <= 8 && !f.text }

func (f *field) get(b []byte) uint64 {
	var v [8]byte
	if f.big {
		copy(v[8-f.size:], b[f.off:][:f.size])
		return binary.BigEndian.Uint64(v[:])
	}
	copy(v[:], b[f.off:][:f.size])
	return le.Uint64(v[:])
}

func (f *field) put(b []byte, n uint64) {
	var v [8]byte
	if f.big {
		binary.BigEndian.PutUint64(v[:], n)
		copy(b[f.off:][:f.size], v[8-f.size:])
		return
	}
	le.PutUint64(v[:], n)
	copy(b[f.off:][:f.size], v[:])
}

func (f *field) String() string {
	if f.element > 0 {
		return fmt.Sprintf("%s[%d]", f.name, f.element)
	}
	return f.name
}

// find returns the first field of that name.
func find(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	panic("layout has no field " + name)
}
