package kernel

import (
	"slices"
	"strings"
)

// symbols are those of one kernel that a profile needs, and what the compiler made
// of them.
type symbols struct {
	byName  map[string][]symbol
	path    []symbol        // the code of the appraisal path, by address
	setOnce map[uint64]bool // where the switches lie that do not change once the kernel has started
	data    bool            // there are variables in the symbol table
}

// readSymbols finds the symbols with these names, those of the appraisal path, and the
// switches that are set once.
func readSymbols(m *image, names []string) (*symbols, error) {
	s := &symbols{byName: make(map[string][]symbol), setOnce: make(map[uint64]bool)}
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	list, err := kallsyms(m.section(".rodata"), m.sectionAddr(".rodata"), func(kind byte, name []byte) bool {
		s.data = s.data || strings.IndexByte("dDbB", kind) >= 0
		return wanted[stem(string(name))] || inPath(kind, string(name)) || isSetOnce(string(name))
	})
	if err != nil {
		return nil, err
	}
	for _, sym := range list {
		if wanted[stem(sym.name)] {
			s.byName[sym.name] = append(s.byName[sym.name], sym)
		}
		if inPath(sym.kind, sym.name) {
			s.path = append(s.path, sym)
		}
		if isSetOnce(sym.name) {
			s.setOnce[sym.addr] = true
		}
	}
	return s, nil
}

// stem is the name of a function without what the compiler put behind it.
func stem(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}

// one gives the one symbol of that name.
func (s *symbols) one(name string) (symbol, error) {
	found := s.byName[name]
	if len(found) != 1 {
		return symbol{}, &SymbolError{name, len(found), s.like(name)}
	}
	return found[0], nil
}

// addr gives the address of the one symbol of that name.
func (s *symbols) addr(name string) (uint64, error) {
	sym, err := s.one(name)
	return sym.addr, err
}

// entry gives the address of a function that nobody can call but there. Of a
// function that was cloned or split, some callers call what came of that.
func (s *symbols) entry(name string) (uint64, error) {
	for _, other := range s.like(name) {
		if !strings.HasPrefix(other, name+".cold") { // is jumped to from the function itself
			return 0, &SymbolError{name, len(s.byName[name]), s.like(name)}
		}
	}
	return s.addr(name)
}

// like lists what the compiler made of a name: parts of the function (.cold,
// .part.0), or another function in its place (.isra.0, .constprop.0).
func (s *symbols) like(name string) (list []string) {
	for other := range s.byName {
		if strings.HasPrefix(other, name+".") {
			list = append(list, other)
		}
	}
	slices.Sort(list)
	return list
}
