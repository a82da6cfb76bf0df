package ext4

import (
	"fmt"
	"slices"
)

// allocator takes free clusters from the map that Check built, near the inodes
// that want them and in ascending order, so that a bulk run gets long
// contiguous stretches.
type allocator struct {
	sb     *superblock
	groups map[uint64]*groupAlloc // groups that were touched
	full   map[uint64]uint64      // groups without room -> a group behind it, where there may be some
	looks  uint64                 // how often a group was looked at
	l      *Listing
}

type groupAlloc struct {
	words  []uint64
	cursor uint64 // first bit that may be free
	taken  uint64
}

func newAllocator(l *Listing) *allocator {
	return &allocator{sb: l.fs.sb, l: l, groups: map[uint64]*groupAlloc{}, full: map[uint64]uint64{}}
}

// alloc returns the first block of a free cluster, in group goal if it has one, else in one behind it.
func (a *allocator) alloc(goal uint64) (uint64, error) {
	for _, from := range []uint64{goal, 0} {
		for g := a.skipFull(from); g < a.sb.groups; g = a.skipFull(g) {
			if block, ok := a.take(g); ok {
				return block, nil
			}
			a.full[g] = g + 1
		}
	}
	return 0, fmt.Errorf("no free block left")
}

// skipFull is the first group from g on that may have room. Each group on the way then
// leads there directly, so that nobody walks over all full groups twice.
func (a *allocator) skipFull(g uint64) uint64 {
	to := g
	for next, ok := a.full[to]; ok; next, ok = a.full[to] {
		to = next
	}
	for g != to {
		g, a.full[g] = a.full[g], to
	}
	return to
}

func (a *allocator) take(g uint64) (uint64, bool) {
	a.looks++
	size := a.sb.groupClusters(g)
	ga := a.groups[g]
	if ga == nil {
		if a.l.used.count(g) == size {
			return 0, false
		}
		ga = &groupAlloc{words: slices.Clone(a.l.used.groups[g])}
		if ga.words == nil {
			ga.words = make([]uint64, (a.sb.clustersPerGroup+63)/64)
		}
		a.groups[g] = ga
	}
	for ; ga.cursor < size; ga.cursor++ {
		word, bit := &ga.words[ga.cursor/64], uint64(1)<<(ga.cursor%64)
		if *word&bit != 0 || a.l.listed[g*a.sb.clustersPerGroup+ga.cursor] {
			continue
		}
		*word |= bit
		ga.taken++
		ga.cursor++
		return a.sb.groupStart(g) + (ga.cursor-1)<<a.sb.clusterBits, true
	}
	return 0, false
}

// assign gives each new attribute block its place.
func (p *plan) assign(l *Listing) (*allocator, error) {
	if needed, free := p.newBlocks(l.fs.sb), l.fs.sb.freeBlocks; needed > free {
		// Needed: the kernel, too, says ENOSPC.
		return nil, refuse("enlarge the file system, or make it anew with larger inodes, which hold the values themselves",
			"values need %d new blocks, but only %d are free", needed, free)
	}
	a := newAllocator(l)
	for _, c := range p.changes {
		if !c.fresh {
			continue
		}
		var err error
		if c.to, err = a.alloc(uint64(c.inode.Number-1) / l.fs.sb.inodesPerGroup); err != nil {
			return nil, err
		}
	}
	return a, nil
}
