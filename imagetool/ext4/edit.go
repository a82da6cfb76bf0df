package ext4

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// A Device is what an Edit is committed to: the file system it was planned
// from, or a copy of it, starting at offset 0.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Forget() error // as that of a block.Device
}

// EditOptions say what changes besides the values.
type EditOptions struct {
	// Time becomes the ctime of every inode that changes, and its i_version
	// goes up by one. Nil leaves both alone.
	Time *time.Time
	// DropEVM removes security.evm from the files that get a value.
	DropEVM bool
}

// An Edit stages security.ima values for regular files. Nothing is written
// before Commit.
type Edit struct {
	l      *Listing
	opt    EditOptions
	values map[uint32][]byte
}

// Edit starts staging.
func (l *Listing) Edit(opt EditOptions) (*Edit, error) {
	if t := opt.Time; t != nil && (t.Unix() < minTime || t.Unix() > maxTime) {
		return nil, fmt.Errorf("time %v cannot be stored in an inode", *t)
	}
	return &Edit{l: l, opt: opt, values: map[uint32][]byte{}}, nil
}

// SetIMA stages the value of security.ima for the regular file with this inode
// number, in place of the one it has.
func (e *Edit) SetIMA(number uint32, value []byte) error {
	f := e.l.inode[number]
	switch {
	case f == nil || f.file < 0:
		return fmt.Errorf("inode %d is not a regular file with a name", number)
	case len(value) == 0:
		return fmt.Errorf("inode %d: value of security.ima is empty", number)
	case e.l.Files[f.file].EVM && !e.opt.DropEVM:
		return fmt.Errorf("inode %d: %w", number, ErrEVM)
	}
	e.values[number] = slices.Clone(value)
	return nil
}

// NewBlocks is how many blocks the staged values need and how many are free.
func (e *Edit) NewBlocks() (needed, free uint64, err error) {
	p, err := e.plan()
	if err != nil {
		return 0, 0, err
	}
	return p.newBlocks(e.l.fs.sb), e.l.fs.sb.freeBlocks, nil
}

// A change is what happens to one inode. others is what must not happen: the
// digest of the attributes that stay.
type change struct {
	inode       *Inode
	value       []byte
	body, block op
	from, to    uint64 // its attribute block before and after, 0 for none
	fresh       bool   // to is newly allocated
	others      [sha256.Size]byte
	values      []uint32 // inodes with values of attributes in its block
}

// A blockEdit is what happens to an attribute block that stays.
type blockEdit struct {
	refs   uint32  // h_refcount afterwards
	change *change // rewrites its entries; nil if it only loses references
}

// A plan says where each value goes. It is the same for the same values,
// whatever the order in which they were staged.
type plan struct {
	changes []*change // by inode number
	edits   map[uint64]*blockEdit
	values  map[uint32]uint64 // inodes with values of attributes, and how many references they gain
	fresh   int               // attribute blocks to allocate
}

// newBlocks is how many blocks are free no longer: each new attribute block takes
// a cluster.
func (p *plan) newBlocks(sb *superblock) uint64 { return uint64(p.fresh) << sb.clusterBits }

func (e *Edit) plan() (*plan, error) {
	if e.l.unfit != nil {
		return nil, e.l.unfit
	}
	p := &plan{edits: map[uint64]*blockEdit{}, values: map[uint32]uint64{}}
	for _, number := range slices.Sorted(maps.Keys(e.values)) {
		in := e.l.Files[e.l.inode[number].file].Inode
		c := &change{inode: in, value: e.values[number], from: in.acl, to: in.acl}
		if err := e.l.fs.place(c, e.opt.DropEVM); err != nil {
			return nil, fmt.Errorf("%q (inode %d): %w", e.l.Files[e.l.inode[number].file].Paths[0], number, err)
		}
		e.l.share(p, c)
		if err := c.check(e.l.fs, e.opt.Time); err != nil {
			return nil, err
		}
		p.changes = append(p.changes, c)
	}
	return p, nil
}

// share decides whether a changed attribute block is rewritten where it is or,
// because other inodes share it, copied. The last one to stay keeps it.
func (l *Listing) share(p *plan, c *change) {
	if c.block == opKeep {
		return
	}
	if c.from == 0 {
		c.fresh = true
		p.fresh++
		return
	}
	edit := p.edits[c.from]
	if edit == nil {
		edit = &blockEdit{refs: l.refs[c.from]}
		p.edits[c.from] = edit
	}
	if edit.refs == 1 {
		edit.change = c
		return
	}
	edit.refs--
	c.fresh = true
	p.fresh++
	for _, number := range c.values { // ext4_xattr_inode_inc_ref_all
		p.values[number]++
	}
}
