package ext4

import (
	"cmp"
	"fmt"
	"slices"
)

// Xattr is one extended attribute under its full name.
type Xattr struct {
	Name  string // such as "security.ima"
	Value []byte
}

// bodyArea is the part of the inode behind its fields, with room for a magic
// number and attributes; nil if there is none. A file system that once had
// smaller inodes leaves i_extra_isize 0 and no such area.
func (in *Inode) bodyArea() []byte {
	extra := in.extraSize()
	if extra == 0 || goodOldInodeSize+extra+xaBodyHeader+xaEnd > len(in.raw) {
		return nil
	}
	return in.raw[goodOldInodeSize+extra:]
}

// bodyEntries are the attributes inside the inode.
func (in *Inode) bodyEntries() ([]entry, error) {
	area := in.bodyArea()
	if area == nil || le.Uint32(area) != xaMagic {
		return nil, nil
	}
	entries, err := parseEntries(area[xaBodyHeader:], 0)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	for i := range entries {
		// 0 is what the kernel writes here; old tools wrote the hash.
		e := &entries[i]
		if e.hash != 0 && !e.hashValid() {
			return nil, damaged("inode %d: hash of %q is wrong", in.Number, e.fullName())
		}
		// Needed: the kernel takes the first one, and finds the other when that is removed.
		if e.matters() && contains(entries[:i], e) {
			return nil, incurable("inode %d: extended attribute %q is there twice", in.Number, e.fullName())
		}
	}
	return entries, nil
}

// inlineRest is the value of system.data in the inode.
func (in *Inode) inlineRest() ([]byte, error) {
	entries, err := in.bodyEntries()
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].is(indexSystem, inlineName) && entries[i].inode == 0 {
			return entries[i].value, nil
		}
	}
	return nil, damaged("inode %d: has inline data, but no system.data", in.Number)
}

// xattrBlock reads and checks an extended attribute block.
func (fs *FS) xattrBlock(block uint64) (raw []byte, entries []entry, err error) {
	if raw, err = fs.readBlock(block); err != nil {
		return nil, nil, err
	}
	entries, err = fs.parseXattrBlock(block, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("extended attribute block %d: %w", block, err)
	}
	return raw, entries, nil
}

func (fs *FS) parseXattrBlock(block uint64, raw []byte) ([]entry, error) {
	if le.Uint32(raw) != xaMagic {
		return nil, damaged("no magic number")
	}
	if fs.sb.metadataCsum() {
		if got, want := le.Uint32(raw[xaOffChecksum:]), fs.sb.xattrChecksum(block, raw); got != want {
			return nil, damaged("checksum is %#08x, computed %#08x", got, want)
		}
	}
	if n := le.Uint32(raw[xaOffBlocks:]); n != 1 {
		return nil, damaged("h_blocks is %d, expected 1", n)
	}
	entries, err := parseEntries(raw, xaBlockHeader)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		if e.index == 0 { // which e2fsck minds here only
			return nil, damaged("extended attribute %q has no name index", e.name)
		}
		if !e.hashValid() {
			return nil, damaged("hash of %q is wrong", e.fullName())
		}
		// Needed: looking for a name, the kernel stops at the first that comes after it
		// (xattr_find_entry): it would not see what stands out of order, nor what is put there.
		if i > 0 && compareEntries(&entries[i-1], e) >= 0 {
			return nil, incurable("%q stands out of order or twice", e.fullName())
		}
	}
	return entries, nil
}

// xattrChecksum is h_checksum: CRC-32C over the block number and the block with
// that field as zero (ext4_xattr_block_csum).
func (sb *superblock) xattrChecksum(block uint64, raw []byte) uint32 {
	crc := crc32c(crc32cUint64(sb.seed, block), raw[:xaOffChecksum])
	return crc32c(crc32cUint32(crc, 0), raw[xaOffChecksum+4:])
}

// allEntries returns the attributes in the inode and those in its block.
func (fs *FS) allEntries(in *Inode) (body, block []entry, err error) {
	if body, err = in.bodyEntries(); err != nil {
		return nil, nil, err
	}
	if in.acl == 0 {
		return body, nil, nil
	}
	if _, block, err = fs.xattrBlock(in.acl); err != nil {
		return nil, nil, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	return body, block, in.checkDistinct(body, block)
}

// matters reports whether two attributes of this name would make a difference here:
// labels, and what is part of a file.
func (e *entry) matters() bool {
	return e.is(indexSecurity, imaName) || e.is(indexSecurity, evmName) || e.is(indexSystem, inlineName)
}

// checkDistinct refuses a label that is both in the inode and in its block.
func (in *Inode) checkDistinct(body, block []entry) error {
	for i := range body {
		// Needed: the kernel takes that in the inode, and finds the other when it is removed.
		if body[i].matters() && contains(block, &body[i]) {
			return incurable("inode %d: extended attribute %q is there twice", in.Number, body[i].fullName())
		}
	}
	return nil
}

// maxXattrs bounds the values of one inode together. Each takes an entry of a few
// bytes only if it lies in an inode of its own, and several may lie in the same.
const maxXattrs = 16 << 20

// Xattrs lists an inode's extended attributes, sorted by name. The one that
// holds inline data is not among them: the kernel does not show it. ACLs come as
// they lie on disk (ext4_acl_header), which is not what getxattr(2) gives.
func (fs *FS) Xattrs(in *Inode) ([]Xattr, error) {
	body, block, err := fs.allEntries(in)
	if err != nil {
		return nil, err
	}
	var out []Xattr
	total := 0
	for _, e := range append(body, block...) {
		first := func(x Xattr) bool { return x.Name == e.fullName() } // which hides this one
		if e.is(indexSystem, inlineName) || slices.ContainsFunc(out, first) {
			continue
		}
		value, err := fs.value(in, &e)
		if err != nil {
			return nil, err
		}
		if total += len(value); total > maxXattrs {
			// Needed: the values of a small image could take all memory.
			return nil, refuse("", "inode %d: extended attributes have more than %d bytes", in.Number, maxXattrs)
		}
		out = append(out, Xattr{e.fullName(), value})
	}
	slices.SortFunc(out, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Xattr returns the value of one attribute and whether it is there.
func (fs *FS) Xattr(in *Inode, name string) ([]byte, bool, error) {
	body, block, err := fs.allEntries(in)
	if err != nil {
		return nil, false, err
	}
	for _, e := range append(body, block...) {
		if e.fullName() == name && !e.is(indexSystem, inlineName) {
			value, err := fs.value(in, &e)
			return value, err == nil, err
		}
	}
	return nil, false, nil
}
