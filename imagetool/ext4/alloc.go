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
	next   map[uint64]uint64      // wanted group -> group where there was still room
	l      *Listing
}

type groupAlloc struct {
	words  []uint64
	cursor uint64 // first bit that may be free
	taken  uint64
}

func newAllocator(l *Listing) *allocator {
	return &allocator{sb: l.fs.sb, l: l, groups: map[uint64]*groupAlloc{}, next: map[uint64]uint64{}}
}

// alloc returns the first block of a free cluster, in group goal if it has one, else in one behind it.
func (a *allocator) alloc(goal uint64) (uint64, error) {
	start, ok := a.next[goal]
	if !ok {
		start = goal
	}
	for i := range a.sb.groups {
		g := (start + i) % a.sb.groups
		if block, ok := a.take(g); ok {
			a.next[goal] = g
			return block, nil
		}
	}
	return 0, fmt.Errorf("no free block left")
}

func (a *allocator) take(g uint64) (uint64, bool) {
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
		return nil, refuse("enlarge the image (truncate, resize2fs), or make it with larger inodes (mke2fs -I 1024), which hold the values themselves",
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
