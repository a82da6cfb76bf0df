package ext4

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// With the feature ea_inode, the value of an attribute may lie in an inode of its
// own, which has no name and may serve several attributes. Its times and version
// mean something else (ext4_xattr_inode_get_hash and _get_ref in
// fs/ext4/xattr.c): atime is CRC-32C of the value, the seconds of ctime and the
// lower half of i_version are the upper and lower half of a reference count.

// maxValueSize is XATTR_SIZE_MAX (include/uapi/linux/limits.h): no kernel sets or
// gets more.
const maxValueSize = 1 << 16

func (in *Inode) valueHash() uint32 { return le.Uint32(in.raw[inAtime:]) }

func (in *Inode) valueRefs() uint64 {
	return uint64(le.Uint32(in.raw[inCtime:]))<<32 | uint64(le.Uint32(in.raw[inVersionLo:]))
}

func (in *Inode) setValueRefs(n uint64) {
	le.PutUint32(in.raw[inCtime:], uint32(n>>32))
	le.PutUint32(in.raw[inVersionLo:], uint32(n))
}

// checkValueInode refuses what the kernel does not take for the inode of a value
// (check_igot_inode in fs/ext4/inode.c).
func (fs *FS) checkValueInode(in *Inode) error {
	area := in.bodyArea()
	switch {
	case in.Number < fs.sb.firstInode || in.Links != 1 || !in.IsRegular() || in.has(flInlineData) || !in.has(flEAInode):
		return incurable("inode %d is not one for the value of an extended attribute", in.Number)
	case in.acl != 0 || area != nil && le.Uint32(area) == xaMagic:
		return incurable("inode %d has the value of an extended attribute, but extended attributes itself", in.Number)
	case in.Size > maxValueSize:
		return incurable("inode %d has the value of an extended attribute, but %d bytes", in.Number, in.Size)
	}
	return nil
}

// valueInode finds the inode that has the value of an entry and holds one
// against the other (ext4_xattr_inode_iget, ext4_xattr_inode_verify_hashes).
func (fs *FS) valueInode(owner *Inode, e *entry) (*Inode, error) {
	if !fs.sb.has(incompat, incompatEAInode) {
		return nil, incurable("value of %q lies in inode %d, but the file system lacks the feature ea_inode", e.fullName(), e.inode)
	}
	in, err := fs.anyInode(e.inode)
	if err == nil {
		err = fs.checkValueInode(in)
	}
	if err != nil {
		return nil, fmt.Errorf("value of %q: %w", e.fullName(), err)
	}
	// What Lustre wrote before Linux had a format for it points back to its owner.
	if le.Uint32(in.raw[inMtime:]) == owner.Number && in.Generation == owner.Generation {
		// Needed: without a hash nobody can tell whether the value is whole, and without a
		// count of references no second attribute block can refer to it.
		return nil, refuse("", "value of %q lies in inode %d as old versions of Lustre wrote it, which is not supported", e.fullName(), e.inode)
	}
	if in.Size != int64(e.outside) {
		return nil, incurable("value of %q has %d bytes, but its inode %d has %d", e.fullName(), e.outside, e.inode, in.Size)
	}
	if !e.hashValidFor(le.AppendUint32(nil, in.valueHash())) {
		return nil, incurable("hash of %q, whose value lies in inode %d, is wrong", e.fullName(), e.inode)
	}
	return in, nil
}

// readValue reads what such an inode has, which is never much.
func (fs *FS) readValue(in *Inode) ([]byte, error) {
	c, err := fs.Contents(in)
	if err != nil {
		return nil, err
	}
	blocks := (uint64(in.Size) + fs.sb.blockSize - 1) / fs.sb.blockSize
	if firstHole(c.runs, blocks) < blocks {
		return nil, incurable("inode %d has the value of an extended attribute, but a hole", in.Number)
	}
	value := make([]byte, in.Size)
	if _, err := io.ReadFull(c, value); err != nil {
		return nil, err
	}
	if got := crc32c(fs.sb.seed, value); got != in.valueHash() { // ext4_xattr_inode_hash
		return nil, incurable("inode %d: hash of the value is %#08x, computed %#08x", in.Number, in.valueHash(), got)
	}
	return value, nil
}

// value is an attribute's value, wherever it lies.
func (fs *FS) value(owner *Inode, e *entry) ([]byte, error) {
	if e.inode == 0 {
		return e.value, nil
	}
	in, err := fs.valueInode(owner, e)
	if err == nil {
		e.value, err = fs.readValue(in)
	}
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", owner.Number, err)
	}
	return e.value, nil
}

// valueCount compares the references to a value with its inode's count.
type valueCount struct {
	stored, found uint64
	scanned       bool // its inode was met in the inode tables
}

// takeValue takes an inode with a value into the books. Its blocks are claimed
// by now, so reading all of them costs no more than the file system is large.
func (l *Listing) takeValue(in *Inode) error {
	if err := l.fs.checkValueInode(in); err != nil {
		return err
	}
	if _, err := l.fs.readValue(in); err != nil {
		return err
	}
	c := l.values[in.Number]
	c.stored, c.scanned = in.valueRefs(), true
	l.values[in.Number] = c
	return nil
}

// claimValues counts the references from a list of attributes.
func (l *Listing) claimValues(owner *Inode, entries []entry) error {
	for i := range entries {
		e := &entries[i]
		if e.inode == 0 {
			continue
		}
		if _, err := l.fs.valueInode(owner, e); err != nil {
			return fmt.Errorf("inode %d: %w", owner.Number, err)
		}
		c := l.values[e.inode]
		c.found++
		l.values[e.inode] = c
	}
	return nil
}

// outsideCost is what values in inodes of their own cost whoever has such an
// attribute, even if others have them too (ext4_xattr_inode_alloc_quota). The
// space counts in i_blocks as well.
func (sb *superblock) outsideCost(entries []entry) (u usage) {
	for _, e := range entries {
		if e.inode != 0 {
			u.space += (uint64(e.outside) + sb.clusterSize() - 1) / sb.clusterSize() * sb.clusterSize() // round_up_cluster
			u.inodes++
		}
	}
	return u
}

// checkValues holds all reference counts against what was found.
func (l *Listing) checkValues() error {
	for _, number := range slices.Sorted(maps.Keys(l.values)) {
		switch c := l.values[number]; {
		case !c.scanned: // Needed: its blocks would be given to others.
			return incurable("inode %d has the value of an extended attribute, but is free", number)
		case c.found == 0:
			// e2fsck gives the inode a name in lost+found, and is content. Whoever looks that
			// name up makes the kernel report an error of the file system (check_igot_inode).
			return refuse(fmt.Sprintf(`on a copy of the image, 'debugfs -w -R "clri <%d>" FILESYSTEM && e2fsck -fy FILESYSTEM' removes it`, number), "inode %d has the value of an extended attribute, but nothing refers to it", number)
		case c.found != c.stored:
			return damaged("inode %d has the value of an extended attribute: reference count is %d, but there are %d", number, c.stored, c.found)
		}
	}
	return nil
}
