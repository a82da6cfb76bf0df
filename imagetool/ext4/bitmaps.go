package ext4

import (
	"cmp"
	"slices"
)

// checkBlockBitmaps compares the map that the pass built with what the file
// system says.
func (l *Listing) checkBlockBitmaps() error {
	sb := l.fs.sb
	var free uint64
	for g := range l.fs.groups {
		d := &l.fs.groups[g]
		used := l.used.count(d.number)
		if d.flags&bgBlockUninit != 0 {
			if used != sb.ownClusters(d) {
				return damaged("group %d: bitmap is marked as never written, but blocks are in use", g)
			}
		} else if err := l.compareBitmap(d); err != nil {
			return err
		}
		if n := sb.groupClusters(d.number) - used; n != d.freeClusters {
			return damaged("group %d: descriptor counts %d free %s, but there are %d", g, d.freeClusters, sb.unit(), n)
		}
		free += d.freeClusters << sb.clusterBits
	}
	if free != sb.freeBlocks {
		return damaged("superblock counts %d free blocks, the groups %d", sb.freeBlocks, free)
	}
	return nil
}

// ownClusters is how many clusters of a group hold its own metadata: what the
// kernel takes for used where the bitmap was never written
// (ext4_num_overhead_clusters).
func (sb *superblock) ownClusters(d *group) (n uint64) {
	own := sb.metadata(d)
	spans := own[:]
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.block, b.block) })
	next := sb.clusterOf(sb.groupStart(d.number)) // first cluster that was not counted
	for _, s := range spans {
		from, to := max(s.block, sb.clusterStart(next)), min(s.block+s.count, sb.groupEnd(d.number))
		if from >= to {
			continue
		}
		first, count := sb.clusters(from, to-from)
		n += count
		next = first + count
	}
	return n
}

func (l *Listing) compareBitmap(d *group) error {
	got, err := l.fs.blockBitmap(d)
	if err != nil {
		return err
	}
	want := l.fs.sb.bitmap(d.number, l.used.groups[d.number])
	for i := range want {
		diff := got[i] ^ want[i]
		for bit := range 8 {
			if diff&(1<<bit) == 0 {
				continue
			}
			block, state := l.fs.sb.groupStart(d.number)+uint64(8*i+bit)<<l.fs.sb.clusterBits, "free, but it is in use"
			if got[i]&(1<<bit) != 0 {
				state = "in use, but nothing refers to it"
			}
			return damaged("block bitmap of group %d says that block %d is %s", d.number, block, state)
		}
	}
	return nil
}
