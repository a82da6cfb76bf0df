package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxDepth bounds how far a type is followed: a damaged one may point to itself.
const maxDepth = 16

// declare writes the declaration of a name in C, or for "" only its type, for what
// is known here: a simple type, an array of integers, or pointers to these.
// Everything else becomes a text that is no C.
func declare(t btf.Type, name string) string {
	stars := ""
	for range maxDepth {
		ptr, ok := t.(*btf.Pointer)
		if !ok {
			break
		}
		t, stars = ptr.Target, stars+"*"
	}
	return strings.TrimSuffix(base(t)+" "+stars+name, " ")
}

func base(t btf.Type) string {
	qualifiers := ""
	for range maxDepth {
		switch q := t.(type) {
		case *btf.Const:
			t, qualifiers = q.Type, qualifiers+"const "
			continue
		case *btf.Volatile:
			t, qualifiers = q.Type, qualifiers+"volatile "
			continue
		}
		break
	}
	return qualifiers + typeName(t)
}

func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Void:
		return "void"
	case *btf.Struct:
		return "struct " + t.Name
	case *btf.Union:
		return "union " + t.Name
	case *btf.Enum:
		return "enum " + t.Name
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name
	case *btf.Int:
		return spelling(t.Name)
	case *btf.Array:
		if n, ok := t.Type.(*btf.Int); ok {
			return fmt.Sprintf("%s[%d]", spelling(n.Name), t.Nelems)
		}
	case *btf.Typedef:
		return t.Name
	}
	return fmt.Sprintf("[%T]", t)
}

// spellings has the names of integers where compilers differ: that of Clang for
// that of GCC.
var spellings = map[string]string{
	"long int":               "long",
	"long long int":          "long long",
	"long long unsigned int": "unsigned long long",
	"long unsigned int":      "unsigned long",
	"short int":              "short",
	"short unsigned int":     "unsigned short",
}

func spelling(name string) string {
	if other, ok := spellings[name]; ok {
		return other
	}
	return name
}
