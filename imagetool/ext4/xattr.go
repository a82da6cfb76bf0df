package ext4

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// struct ext4_xattr_header, ext4_xattr_ibody_header and ext4_xattr_entry
// (fs/ext4/xattr.h).
const (
	xaMagic         = 0xea020000
	xaBlockHeader   = 32
	xaBodyHeader    = 4
	xaEntryHeader   = 16
	xaMaxRefcount   = 1024 // EXT4_XATTR_REFCOUNT_MAX
	xaOffRefcount   = 4
	xaOffBlocks     = 8
	xaOffHash       = 12
	xaOffChecksum   = 16
	xaOffNameIndex  = 1 // within an entry
	xaOffValue      = 2
	xaOffValueInode = 4
	xaOffValueSize  = 8
	xaOffEntryHash  = 12
	xaEnd           = 4 // a zero word ends the list of entries
)

// Name indexes (fs/ext4/xattr.h): what a name's prefix is shortened to.
const (
	indexSecurity = 6
	indexSystem   = 7
	inlineName    = "data" // system.data, the rest of inline data
	imaName       = "ima"
	evmName       = "evm"
)

var indexPrefix = map[byte]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.",
	indexSecurity: "security.", indexSystem: "system.", 8: "system.richacl", 10: "gnu.",
}

// Xattr is one extended attribute under its full name.
type Xattr struct {
	Name  string // such as "security.ima"
	Value []byte
}

// entry is one attribute as ext4 stores it.
type entry struct {
	index byte
	name  string // without the prefix
	value []byte
	hash  uint32 // e_hash as it stands on disk
}

func contains(entries []entry, e *entry) bool {
	return slices.ContainsFunc(entries, func(o entry) bool { return o.is(e.index, e.name) })
}

func (e *entry) is(index byte, name string) bool { return e.index == index && e.name == name }

func (e *entry) fullName() string {
	if p, ok := indexPrefix[e.index]; ok {
		return p + e.name
	}
	return fmt.Sprintf("#%d.%s", e.index, e.name)
}

func pad4(n int) int { return (n + 3) &^ 3 }

// size is what the entry takes, its value included.
func (e *entry) size() int { return pad4(xaEntryHeader+len(e.name)) + pad4(len(e.value)) }

func entriesSize(entries []entry) int {
	n := xaEnd
	for i := range entries {
		n += entries[i].size()
	}
	return n
}

// parseEntries reads the list that starts at first; value offsets count from
// the start of area. Values must lie behind the list, inside the area, and
// apart from each other.
func parseEntries(area []byte, first int) ([]entry, error) {
	type span struct{ from, to int }
	var out []entry
	var spans []span
	p := first
	for {
		if p+xaEnd > len(area) {
			return nil, damaged("extended attributes run past their area")
		}
		if le.Uint32(area[p:]) == 0 {
			break
		}
		if p+xaEntryHeader > len(area) || p+xaEntryHeader+int(area[p]) > len(area) {
			return nil, damaged("extended attribute name runs past its area")
		}
		h := area[p:]
		e := entry{index: h[xaOffNameIndex], name: string(h[xaEntryHeader:][:h[0]]), hash: le.Uint32(h[xaOffEntryHash:])}
		if e.index == 0 { // no kernel wrote that, and without a name it looks like the end
			return nil, damaged("extended attribute %q has no name index", e.name)
		}
		if ino := le.Uint32(h[xaOffValueInode:]); ino != 0 {
			return nil, refuse("", "value of %q lies in inode %d (ea_inode), which is not supported", e.fullName(), ino)
		}
		size, from := int64(le.Uint32(h[xaOffValueSize:])), int64(le.Uint16(h[xaOffValue:]))
		if size > 0 {
			if size > int64(len(area)) || from+int64(pad4(int(size))) > int64(len(area)) {
				return nil, damaged("value of %q runs past its area", e.fullName())
			}
			e.value = bytes.Clone(area[from : from+size])
			spans = append(spans, span{int(from), int(from) + pad4(int(size))})
		}
		out = append(out, e)
		p += pad4(xaEntryHeader + len(e.name))
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	end := p + xaEnd
	for _, s := range spans {
		if s.from < end {
			return nil, damaged("values of extended attributes overlap")
		}
		end = s.to
	}
	return out, nil
}

// putEntries writes the list at first and the values from the end of area
// downwards, as ext4_xattr_set_entry leaves them. Everything else from first on
// becomes zero.
func putEntries(area []byte, first int, entries []entry) {
	clear(area[first:])
	p, end := first, len(area)
	for i := range entries {
		e := &entries[i]
		h := area[p:]
		h[0], h[xaOffNameIndex] = byte(len(e.name)), e.index
		le.PutUint32(h[xaOffValueSize:], uint32(len(e.value)))
		le.PutUint32(h[xaOffEntryHash:], e.hash)
		copy(h[xaEntryHeader:], e.name)
		if len(e.value) > 0 {
			end -= pad4(len(e.value))
			le.PutUint16(h[xaOffValue:], uint16(end))
			copy(area[end:], e.value)
		}
		p += pad4(xaEntryHeader + len(e.name))
	}
}

// entryHash is e_hash (ext4_xattr_hash_entry). Machines whose char is signed
// once hashed names with bytes above 0x7f differently, and both are valid.
func (e *entry) entryHash(signedName bool) uint32 {
	var h uint32
	for _, c := range []byte(e.name) {
		v := uint32(c)
		if signedName {
			v = uint32(int32(int8(c)))
		}
		h = h<<5 ^ h>>27 ^ v
	}
	v := make([]byte, pad4(len(e.value)))
	copy(v, e.value)
	for ; len(v) > 0; v = v[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(v)
	}
	return h
}

func (e *entry) hashValid() bool {
	return e.hash == e.entryHash(false) || e.hash == e.entryHash(true)
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
		if contains(entries[:i], e) {
			return nil, damaged("inode %d: extended attribute %q is there twice", in.Number, e.fullName())
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
		if entries[i].is(indexSystem, inlineName) {
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
	if n := le.Uint32(raw[xaOffRefcount:]); n == 0 || n > xaMaxRefcount {
		return nil, damaged("h_refcount %d is out of range", n)
	}
	entries, err := parseEntries(raw, xaBlockHeader)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		if !e.hashValid() {
			return nil, damaged("hash of %q is wrong", e.fullName())
		}
		// Looking for a name, the kernel stops at the first that comes after it
		// (xattr_find_entry): it would not see what stands out of order.
		if i > 0 && compareEntries(&entries[i-1], e) >= 0 {
			return nil, damaged("%q stands out of order or twice", e.fullName())
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

// checkDistinct refuses a name that is both in the inode and in its block.
func (in *Inode) checkDistinct(body, block []entry) error {
	for i := range body {
		if contains(block, &body[i]) {
			return damaged("inode %d: extended attribute %q is there twice", in.Number, body[i].fullName())
		}
	}
	return nil
}

// Xattrs lists an inode's extended attributes, sorted by name. The one that
// holds inline data is not among them: the kernel does not show it. ACLs come as
// they lie on disk (ext4_acl_header), which is not what getxattr(2) gives.
func (fs *FS) Xattrs(in *Inode) ([]Xattr, error) {
	body, block, err := fs.allEntries(in)
	if err != nil {
		return nil, err
	}
	var out []Xattr
	for _, e := range append(body, block...) {
		if !e.is(indexSystem, inlineName) {
			out = append(out, Xattr{e.fullName(), e.value})
		}
	}
	slices.SortFunc(out, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Xattr returns the value of one attribute and whether it is there.
func (fs *FS) Xattr(in *Inode, name string) ([]byte, bool, error) {
	all, err := fs.Xattrs(in)
	if err != nil {
		return nil, false, err
	}
	for _, x := range all {
		if x.Name == name {
			return x.Value, true, nil
		}
	}
	return nil, false, nil
}
