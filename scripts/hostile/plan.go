package hostile

import (
	"bytes"
	"math/rand/v2"

	"github.com/vmseal/vmseal/scripts/hostile/mutate"
)

// A plan says what happens to which image.
type plan struct {
	seed   uint64
	images []*mutate.Image
	cases  [][]mutate.Case       // of each image
	all    []mutate.Case         // each once, shuffled
	having map[mutate.Case][]int // images by case
}

func newPlan(images []*mutate.Image, seed uint64) *plan {
	p := &plan{seed: seed, images: images, having: map[mutate.Case][]int{}}
	for i, im := range images {
		cases := im.Cases()
		p.cases = append(p.cases, cases)
		for _, c := range cases {
			if p.having[c] == nil {
				p.all = append(p.all, c)
			}
			p.having[c] = append(p.having[c], i)
		}
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(p.all), func(i, j int) { p.all[i], p.all[j] = p.all[j], p.all[i] })
	return p
}

// A specimen is one spoilt image.
type specimen struct {
	number int
	kind   string
	ext    string // of the file; "" for a raw image
	bytes  []byte
	damage []string
	lvm    *lvmDisk // what it was, with logical volumes; else nil
	moved  bool     // by what is said there, these may lie elsewhere now
	mend   bool     // e2fsck is to repair it first, which leaves healthy images that are odd
}

// make spoils the image with this number. The even ones go through all cases,
// one by one, the odd ones have several.
func (p *plan) make(n int) *specimen {
	rng := rand.New(rand.NewPCG(p.seed, 1+uint64(n)))
	i, times := rng.IntN(len(p.images)), 1+rng.IntN(5)
	var cases []mutate.Case
	if n%2 == 0 {
		c := p.all[n/2%len(p.all)]
		i, times = p.having[c][rng.IntN(len(p.having[c]))], 1
		cases = []mutate.Case{c, c, c, c}
	}
	im := p.images[i]
	s := &specimen{number: n, kind: im.Name, bytes: im.Clone(), mend: n%8 == 7}
	for tries := 0; len(s.damage) < times && tries < 100; tries++ {
		// A value that is there already changes nothing: then another structure is
		// tried, and another case if there seems to be none.
		c := mutate.Random(p.cases[i], rng)
		if tries < len(cases) {
			c = cases[tries]
		}
		before := bytes.Clone(s.bytes)
		if did := im.Spoil(s.bytes, c, rng); did != "" && !bytes.Equal(before, s.bytes) {
			s.damage = append(s.damage, did)
		}
	}
	if rng.IntN(4) == 0 {
		s.damage = append(s.damage, "counts made to fit the bitmaps")
		im.Recount(s.bytes)
	}
	if rng.IntN(8) == 0 {
		s.damage = append(s.damage, "checksums left wrong")
	} else {
		im.Seal(s.bytes)
	}
	return s
}
