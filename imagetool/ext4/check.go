package ext4

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// File is one regular file with all its names.
type File struct {
	Inode      *Inode
	Paths      []string // sorted, from the root, as "/etc/passwd"; raw bytes
	FirstBlock uint64   // where its data begins, 0 if it has no block
	EVM        bool     // carries security.evm
}

// Listing is a file system whose metadata was found to agree in every point
// that writing attributes relies on.
type Listing struct {
	Files []File // in disk order

	fs     *FS
	unfit  *RefusedError // why nothing may be written, although all can be read
	used   *blockMap
	listed map[uint64]bool   // clusters that the resize inode lists
	refs   map[uint64]uint32 // references to each extended attribute block
	last   xattrBlock        // the one that was parsed last
	inode  map[uint32]*facts

	values map[uint32]valueCount // inodes with values of extended attributes
	quotas []*quota

	attributes attributeSum

	pathBytes, pathLimit int // length of all paths so far, and at most
}

// facts is what the pass remembers of one inode in use.
type facts struct {
	mode  uint16
	links uint16 // i_links_count
	names uint32 // directory entries that refer to it, ".." included
	file  int    // index into Files, -1 if it is not a regular file
	index bool   // a directory with a hash tree
	value bool   // has the value of an extended attribute
}

// Check makes one pass over all inodes and directories. It builds the map of
// blocks in use, the reference counts of attribute blocks and of inodes with
// values, and what each owner has. It refuses any disagreement with bitmaps,
// counts, h_refcount and quota files, blocks with two owners, inodes without a
// name and names without an inode.
func (fs *FS) Check(ctx context.Context) (*Listing, error) {
	l := &Listing{
		fs: fs, used: newBlockMap(fs.sb), listed: map[uint64]bool{}, refs: map[uint64]uint32{}, inode: map[uint32]*facts{}, pathLimit: pathLimit(fs.sb),
		values: map[uint32]valueCount{}, quotas: newQuotas(fs.sb),
	}
	if err := l.markMetadata(); err != nil {
		return nil, err
	}
	if err := l.scanInodes(ctx); err != nil {
		return nil, err
	}
	if err := l.checkRefcounts(); err != nil {
		return nil, err
	}
	if err := l.checkValues(); err != nil {
		return nil, err
	}
	if err := l.checkOrphanFile(); err != nil {
		return nil, err
	}
	if err := l.walkNames(ctx); err != nil {
		return nil, err
	}
	if err := l.checkBlockBitmaps(); err != nil {
		return nil, err
	}
	if err := l.checkQuotas(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.FirstBlock, b.FirstBlock), cmp.Compare(a.Inode.Number, b.Inode.Number))
	})
	for i := range l.Files {
		slices.Sort(l.Files[i].Paths)
		l.inode[l.Files[i].Inode.Number].file = i
	}
	return l, nil
}

// markMetadata claims what belongs to no inode. Only here may several owners share
// a cluster, though no block.
func (l *Listing) markMetadata() error {
	sb := l.fs.sb
	var spans []span
	for g := range l.fs.groups {
		own := sb.metadata(&l.fs.groups[g])
		spans = append(spans, own[:]...)
	}
	if block := sb.mmpBlock(); block != 0 {
		spans = append(spans, span{block, 1})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.block, b.block) })
	var end, claimed uint64 // of the span before, and of its last cluster
	for _, s := range spans {
		if s.count == 0 {
			continue
		}
		if s.block < end {
			return incurable("metadata of block groups: block %d has two owners", s.block)
		}
		end = s.block + s.count
		if from := max(s.block, claimed); from < end {
			if err := l.used.mark(from, end-from); err != nil {
				return fmt.Errorf("metadata of block groups: %w", err)
			}
			claimed = sb.clusterStart(sb.clusterOf(end-1) + 1)
		}
	}
	return nil
}

// An xattrBlock is one extended attribute block, parsed.
type xattrBlock struct {
	number  uint64
	refs    uint32 // h_refcount
	entries []entry
	cost    usage // of the values that lie elsewhere
}

// parsed reads an attribute block. Inodes that share one mostly lie together.
func (l *Listing) parsed(block uint64) (*xattrBlock, error) {
	if l.last.number != block {
		raw, entries, err := l.fs.xattrBlock(block)
		if err != nil {
			return nil, err
		}
		l.last = xattrBlock{block, le.Uint32(raw[xaOffRefcount:]), entries, l.fs.sb.outsideCost(entries)}
	}
	return &l.last, nil
}

// claimXattrs checks an inode's attributes and claims their block and the values
// that lie elsewhere. cost is what they cost beyond the inode.
func (l *Listing) claimXattrs(in *Inode) (evm bool, cost usage, err error) {
	body, err := in.bodyEntries()
	if err != nil {
		return false, usage{}, err
	}
	if err := l.claimValues(in, body); err != nil {
		return false, usage{}, err
	}
	isEVM := func(e entry) bool { return e.is(indexSecurity, evmName) }
	evm, cost = slices.ContainsFunc(body, isEVM), l.fs.sb.outsideCost(body)
	if in.acl == 0 {
		return evm, cost, l.sumAttributes(in, len(body), cost.space)
	}
	b, err := l.parsed(in.acl)
	if err != nil {
		return false, usage{}, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	if err := l.claimXattrBlock(in, b); err != nil {
		return false, usage{}, err
	}
	if err := l.sumAttributes(in, len(body)+len(b.entries), cost.space+b.cost.space); err != nil {
		return false, usage{}, err
	}
	evm = evm || slices.ContainsFunc(b.entries, isEVM)
	cost = usage{cost.space + b.cost.space + l.fs.sb.clusterSize(), cost.inodes + b.cost.inodes}
	return evm, cost, in.checkDistinct(body, b.entries)
}

// claimXattrBlock counts one more reference to a block. Together, all who share
// it refer but once to the values that lie elsewhere.
func (l *Listing) claimXattrBlock(in *Inode, b *xattrBlock) error {
	switch l.refs[b.number]++; {
	case l.refs[b.number] > b.refs:
		return damaged("extended attribute block %d: h_refcount is %d, but more inodes refer to it", b.number, b.refs)
	case l.refs[b.number] > 1:
		return nil
	}
	if err := l.used.mark(b.number, 1); err != nil {
		return fmt.Errorf("inode %d: extended attributes: %w", in.Number, err)
	}
	return l.claimValues(in, b.entries)
}

func (l *Listing) checkRefcounts() error {
	for _, block := range slices.Sorted(maps.Keys(l.refs)) {
		raw, err := l.fs.readBlock(block)
		if err != nil {
			return err
		}
		if got, n := le.Uint32(raw[xaOffRefcount:]), l.refs[block]; got != n {
			return damaged("extended attribute block %d: h_refcount is %d, but %d inodes refer to it", block, got, n)
		}
	}
	return nil
}
