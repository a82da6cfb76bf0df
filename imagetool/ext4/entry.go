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

// entry is one attribute as ext4 stores it.
type entry struct {
	index byte
	name  string // without the prefix
	value []byte
	hash  uint32 // e_hash as it stands on disk

	inode   uint32 // e_value_inum: where the value lies, 0 if it is here
	outside uint32 // the size of a value that lies there
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

// size is what the entry takes, its value included if it is here.
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
		size, from := int64(le.Uint32(h[xaOffValueSize:])), int64(le.Uint16(h[xaOffValue:]))
		switch e.inode = le.Uint32(h[xaOffValueInode:]); {
		case e.inode != 0:
			e.outside = uint32(size)
		case size > int64(len(area)) || from+int64(pad4(int(size))) > int64(len(area)): // empty ones too
			return nil, incurable("value of %q runs past its area", e.fullName())
		case size > 0:
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
		le.PutUint32(h[xaOffValueInode:], e.inode)
		le.PutUint32(h[xaOffValueSize:], uint32(len(e.value))+e.outside)
		le.PutUint32(h[xaOffEntryHash:], e.hash)
		copy(h[xaEntryHeader:], e.name)
		if len(e.value) > 0 {
			end -= pad4(len(e.value))
			le.PutUint16(h[xaOffValue:], uint16(end))
			copy(area[end:], e.value)
		}
		if le.Uint32(h) == 0 { // neither name nor index: as it is, the end mark
			le.PutUint16(h[xaOffValue:], xaEntryHeader) // of an empty value: any place inside
		}
		p += pad4(xaEntryHeader + len(e.name))
	}
}

// entryHash is e_hash (ext4_xattr_hash_entry). Machines whose char is signed
// once hashed names with bytes above 0x7f differently, and both are valid.
func (e *entry) entryHash(value []byte, signedName bool) uint32 {
	var h uint32
	for _, c := range []byte(e.name) {
		v := uint32(c)
		if signedName {
			v = uint32(int32(int8(c)))
		}
		h = h<<5 ^ h>>27 ^ v
	}
	v := make([]byte, pad4(len(value)))
	copy(v, value)
	for ; len(v) > 0; v = v[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(v)
	}
	return h
}

// hashValid says nothing about a value that lies elsewhere (see valueInode).
func (e *entry) hashValid() bool { return e.inode != 0 || e.hashValidFor(e.value) }

// hashValidFor takes the value, or the hash of a value that lies elsewhere.
func (e *entry) hashValidFor(value []byte) bool {
	return e.hash == e.entryHash(value, false) || e.hash == e.entryHash(value, true)
}
