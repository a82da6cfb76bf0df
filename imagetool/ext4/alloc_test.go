package ext4

import "testing"

// fullListing has full groups before the only one with room, the last.
func fullListing(groups uint64) *Listing {
	const perGroup = 256 // the least that mke2fs makes
	sb := &superblock{blockSize: 1024, firstData: 1, blocks: groups*perGroup + 1, blocksPerGroup: perGroup, clustersPerGroup: perGroup, groups: groups}
	l := &Listing{fs: &FS{sb: sb}, used: newBlockMap(sb), listed: map[uint64]bool{}}
	full := make([]uint64, perGroup/64)
	for i := range full {
		full[i] = ^uint64(0)
	}
	for g := range groups - 1 {
		l.used.groups[g] = full
	}
	return l
}

// BenchmarkAlloc has files all over a file system that is full up to its end.
func BenchmarkAlloc(b *testing.B) {
	const groups, files = 1<<17 + 1, 256
	l := fullListing(groups)
	for b.Loop() {
		a := newAllocator(l)
		for i := range uint64(files) {
			if _, err := a.alloc(i * (groups / files)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// TestAllocPastFullGroups: each full group is looked at once, however many files want a
// block in it or in one before it.
func TestAllocPastFullGroups(t *testing.T) {
	const groups, files = 4096, 250
	a := newAllocator(fullListing(groups))
	for i := range uint64(files) {
		block, err := a.alloc(i * 7919 % groups)
		if err != nil {
			t.Fatal(err)
		}
		if want := a.sb.groupStart(groups-1) + i; block != want {
			t.Fatalf("file %d: block %d, want %d", i, block, want)
		}
	}
	if a.looks > groups+files {
		t.Errorf("%d groups were looked at %d times for %d files", groups, a.looks, files)
	}
}

// TestAllocWraps: behind the last group comes the first one, and then none.
func TestAllocWraps(t *testing.T) {
	l := fullListing(8)
	l.used.groups[7], l.used.groups[2] = l.used.groups[0], make([]uint64, 4)
	a := newAllocator(l)
	for i := range uint64(256) {
		if block, err := a.alloc(5); err != nil || block != a.sb.groupStart(2)+i {
			t.Fatalf("block %d, %v", block, err)
		}
	}
	if block, err := a.alloc(5); err == nil {
		t.Errorf("block %d, although none is left", block)
	}
}
