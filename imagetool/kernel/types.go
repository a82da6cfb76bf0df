package kernel

import (
	"bytes"
	"fmt"
	"math"
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

// offset gives the place of a member that has to have this size, both in bytes.
// The member may stand in a structure or union without a name.
func (t *types) offset(structure, member string, size uint32) (uint32, error) {
	name := "struct " + structure
	var s *btf.Struct
	if err := t.spec.TypeByName(structure, &s); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	bits, m := find(s.Members, member, maxDeclare)
	if m == nil {
		return 0, &TypeError{name, "has no member " + member}
	}
	if n, err := btf.Sizeof(m.Type); err != nil || n != int(size) || m.BitfieldSize != 0 {
		return 0, &TypeError{name, fmt.Sprintf("member %s is not one of %d bytes", member, size)}
	}
	if bits%8 != 0 || bits/8+uint64(size) > uint64(s.Size) {
		return 0, &TypeError{name, fmt.Sprintf("member %s lies %d bits from its beginning", member, bits)}
	}
	return uint32(bits / 8), nil
}

// find looks for a member, and for its distance from the beginning in bits.
func find(members []btf.Member, name string, depth int) (uint64, *btf.Member) {
	for i := range members {
		m := &members[i]
		if m.Name == name {
			return uint64(m.Offset), m
		}
		if m.Name != "" || depth == 0 {
			continue
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, found := find(inner, name, depth-1); found != nil {
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
