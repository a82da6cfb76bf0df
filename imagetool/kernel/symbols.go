package kernel

import (
	"slices"
	"strings"
)

// symbols are those of one kernel by name.
type symbols map[string][]symbol

func indexSymbols(list []symbol) symbols {
	s := make(symbols, len(list))
	for _, sym := range list {
		s[sym.name] = append(s[sym.name], sym)
	}
	return s
}

// addr gives the address of the one symbol of that name.
func (s symbols) addr(name string) (uint64, error) {
	if found := s[name]; len(found) != 1 {
		return 0, &SymbolError{name, len(found), s.like(name)}
	}
	return s[name][0].addr, nil
}

// like lists what the compiler made of a name: parts of the function (.cold,
// .part.0), or another function in its place (.isra.0, .constprop.0).
func (s symbols) like(name string) (list []string) {
	for other := range s {
		if strings.HasPrefix(other, name+".") {
			list = append(list, other)
		}
	}
	slices.Sort(list)
	return list
}

// haveData reports whether there are variables among the symbols.
func (s symbols) haveData() bool {
	for _, list := range s {
		if slices.ContainsFunc(list, func(sym symbol) bool { return strings.IndexByte("dDbB", sym.kind) >= 0 }) {
			return true
		}
	}
	return false
}
