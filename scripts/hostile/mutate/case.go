package mutate

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// A Case is one way to spoil one kind of field, whichever structure has it.
type Case struct {
	Kind  string // of the structure
	Field string // "" for the structure as a whole
	How   string
}

func (c Case) String() string {
	if c.Field == "" {
		return c.Kind + ": " + c.How
	}
	return c.Kind + "." + c.Field + ": " + c.How
}

// Cases lists what can be spoilt in this image, each case once.
func (im *Image) Cases() []Case {
	seen := map[Case]bool{}
	for _, o := range im.objects {
		for _, w := range wholes {
			if w.applies(o) {
				seen[Case{o.kind, "", w.name}] = true
			}
		}
		for i := range o.fields {
			for _, v := range values {
				if v.applies(&o.fields[i]) {
					seen[Case{o.kind, o.fields[i].name, v.name}] = true
				}
			}
		}
	}
	var out []Case
	for c := range seen {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Case) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Field, b.Field), cmp.Compare(a.How, b.How))
	})
	return out
}

// Spoil applies a case to a copy of the image's bytes and says what it did. It
// chooses among the structures that fit; "" means that there is none.
func (im *Image) Spoil(b []byte, c Case, rng *rand.Rand) string {
	s := &spoiler{im, b, rng}
	var fit []*object
	for _, o := range im.objects {
		if o.kind == c.Kind && (c.Field == "" || o.has(c.Field)) {
			fit = append(fit, o)
		}
	}
	if len(fit) == 0 {
		return ""
	}
	o := fit[rng.IntN(len(fit))]
	if c.Field == "" {
		for _, w := range wholes {
			if w.name == c.How && w.applies(o) {
				w.apply(s, o)
				return o.String() + ": " + w.name
			}
		}
		return ""
	}
	return s.field(o, c)
}

// Random chooses a case: first a kind of structure, so that those with many
// fields do not get all.
func Random(cases []Case, rng *rand.Rand) Case {
	var kinds []string
	for _, c := range cases {
		if len(kinds) == 0 || kinds[len(kinds)-1] != c.Kind {
			kinds = append(kinds, c.Kind)
		}
	}
	kind := kinds[rng.IntN(len(kinds))]
	from := slices.IndexFunc(cases, func(c Case) bool { return c.Kind == kind })
	n := 0
	for from+n < len(cases) && cases[from+n].Kind == kind {
		n++
	}
	return cases[from+rng.IntN(n)]
}
