package kernel

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// types are those of one kernel.
type types struct{ spec *btf.Spec }

func readTypes(section []byte) (*types, error) {
	if len(section) == 0 {
		return nil, ErrNoBTF
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(section))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
	}
	return &types{spec}, nil
}

// A member of a structure, with what is expected of it.
type member struct {
	structure, name string
	kind            string // its type in C, as declare gives it; or one of several, with | in between
	size            uint32 // in bytes
}

// offset gives the place of a member in bytes. It may stand in a structure or union
// without a name.
func (t *types) offset(want member) (uint32, error) {
	var s *btf.Struct
	if err := t.spec.TypeByName(want.structure, &s); err != nil {
		return 0, fmt.Errorf("struct %s: %w", want.structure, err)
	}
	refuse := func(format string, args ...any) (uint32, error) {
		return 0, &TypeError{"struct " + want.structure, "member " + want.name + fmt.Sprintf(format, args...)}
	}
	bits, m := find(s.Members, want.name, make(map[btf.Type]bool))
	if m == nil {
		return refuse(" is missing")
	}
	if found := declare(m.Type, ""); !slices.Contains(strings.Split(want.kind, "|"), found) {
		return refuse(" is of type %s, want %s", found, want.kind)
	}
	if n, err := btf.Sizeof(m.Type); err != nil || n != int(want.size) || m.BitfieldSize != 0 {
		return refuse(" does not have %d bytes", want.size)
	}
	if bits%8 != 0 || bits/8+uint64(want.size) > uint64(s.Size) {
		return refuse(" lies at bit %d of %d bytes", bits, s.Size)
	}
	return uint32(bits / 8), nil
}

// find looks for a member, and for its distance from the beginning in bits. It
// looks into no type twice: a damaged one may have itself as a member.
func find(members []btf.Member, name string, seen map[btf.Type]bool) (uint64, *btf.Member) {
	for i := range members {
		m := &members[i]
		if m.Name == name {
			return uint64(m.Offset), m
		}
		if m.Name != "" || seen[m.Type] {
			continue
		}
		seen[m.Type] = true
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, found := find(inner, name, seen); found != nil {
			return uint64(m.Offset) + at, found
		}
	}
	return 0, nil
}

// enum gives the values of an enumeration of four bytes by name.
func (t *types) enum(name string) (map[string]uint32, error) {
	var e *btf.Enum
	if err := t.spec.TypeByName(name, &e); err != nil {
		return nil, fmt.Errorf("enum %s: %w", name, err)
	}
	if e.Size != 4 {
		return nil, &TypeError{"enum " + name, fmt.Sprintf("has %d bytes, want 4", e.Size)}
	}
	values := make(map[string]uint32, len(e.Values))
	for _, v := range e.Values {
		if v.Value > math.MaxUint32 {
			return nil, &TypeError{"enum " + name, v.Name + " does not fit into 4 bytes"}
		}
		values[v.Name] = uint32(v.Value)
	}
	return values, nil
}

// value gives one member of an enumeration.
func (t *types) value(enum, name string) (uint32, error) {
	values, err := t.enum(enum)
	if err != nil {
		return 0, err
	}
	n, ok := values[name]
	if !ok {
		return 0, &TypeError{"enum " + enum, "has no member " + name}
	}
	return n, nil
}

// cpuMask gives the size of a set of CPUs in bytes (struct cpumask, include/linux/cpumask.h).
func (t *types) cpuMask() (uint32, error) {
	var s *btf.Struct
	if err := t.spec.TypeByName("cpumask", &s); err != nil {
		return 0, fmt.Errorf("struct cpumask: %w", err)
	}
	at, err := t.offset(member{"cpumask", "bits", fmt.Sprintf("unsigned long[%d]", s.Size/8), s.Size})
	if err == nil && at != 0 {
		err = &TypeError{"struct cpumask", "does not begin with its bits"}
	}
	return s.Size, err
}

// funcs gives enum ima_hooks without its first and its last member, which stand
// for no function.
func (t *types) funcs() (map[string]uint32, error) {
	values, err := t.enum("ima_hooks")
	if err != nil {
		return nil, err
	}
	for name := range values {
		if name == "NONE" || strings.HasSuffix(name, "MAX_CHECK") {
			delete(values, name)
		}
	}
	return values, nil
}
