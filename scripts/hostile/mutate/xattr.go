package mutate

import "fmt"

const (
	xattrMagic      = 0xea020000 // EXT4_XATTR_MAGIC
	xattrEntrySize  = 16
	xattrHeaderSize = 32
)

// addXattrs adds the attributes in the inode and in its block.
func (o *owner) addXattrs() {
	if o.inodeSize > 128 {
		at := o.at + 128 + int(find(inodeExtraLayout, "i_extra_isize").get(o.raw))
		end := o.at + o.inodeSize
		if at+8 <= end && le.Uint32(o.Bytes[at:]) == xattrMagic {
			o.add(&object{kind: "attributes in inode", where: o.where, at: at, fields: xattrBodyLayout, owner: o.number})
			o.addAttributes(at+4, at+4, end, o.where)
		}
	}
	block := o.get("i_file_acl_lo")
	if block == 0 {
		return
	}
	o.note(block)
	at := o.blockAt(block)
	where := fmt.Sprintf("block %d (%s)", block, o.where)
	o.addAttributes(at+xattrHeaderSize, at, at+o.blockSize, where)
	header := o.add(&object{kind: "attribute block", where: where, at: at, fields: xattrHeaderLayout, owner: o.number})
	header.seal = func(b []byte) { o.sealXattrBlock(b, at, block) }
}

// addAttributes adds a list of attributes whose values lie at offsets from base.
func (o *owner) addAttributes(first, base, end int, where string) {
	for p := first; p+4 <= end && le.Uint32(o.Bytes[p:]) != 0; {
		name, value := int(o.Bytes[p]), int(le.Uint32(o.Bytes[p+8:]))
		fields := append(xattrEntryLayout[:len(xattrEntryLayout):len(xattrEntryLayout)], field{name: "e_name", off: xattrEntrySize, size: max(1, name), text: true})
		e := o.add(&object{kind: "attribute", where: where, at: p, fields: fields, owner: o.number})
		if le.Uint32(o.Bytes[p+12:]) != 0 && le.Uint32(o.Bytes[p+4:]) == 0 {
			e.seal = func(b []byte) { sealAttribute(b[p:end], b[base:end]) }
		}
		if from := base + int(le.Uint16(o.Bytes[p+2:])); value > 0 && le.Uint32(o.Bytes[p+4:]) == 0 {
			o.add(&object{kind: "attribute value", where: where, at: from, size: value, owner: o.number,
				fields: []field{{name: "value", size: value, text: true}}})
		}
		p += (xattrEntrySize + name + 3) &^ 3
	}
}

// sealAttribute follows ext4_xattr_hash_entry, as far as name and value lie in
// the area.
func sealAttribute(e, area []byte) {
	name, off, size := int(e[0]), int(le.Uint16(e[2:])), int(le.Uint32(e[8:]))
	if xattrEntrySize+name > len(e) || size > len(area) || off+(size+3)&^3 > len(area) {
		return
	}
	var h uint32
	for _, c := range e[xattrEntrySize:][:name] {
		h = h<<5 ^ h>>27 ^ uint32(c)
	}
	for i := 0; i < size; i += 4 {
		h = h<<16 ^ h>>16 ^ le.Uint32(area[off+i:])
	}
	le.PutUint32(e[12:], h)
}

// sealXattrBlock follows ext4_xattr_rehash and ext4_xattr_block_csum.
func (o *owner) sealXattrBlock(b []byte, at int, block uint64) {
	raw := b[at:][:o.blockSize]
	var h uint32
	for p := xattrHeaderSize; p+xattrEntrySize <= len(raw) && le.Uint32(raw[p:]) != 0; {
		e := le.Uint32(raw[p+12:])
		if e == 0 {
			h = 0
			break
		}
		h = h<<16 ^ h>>16 ^ e
		p += (xattrEntrySize + int(raw[p]) + 3) &^ 3
	}
	if le.Uint32(o.Bytes[at+12:]) != 0 {
		le.PutUint32(raw[12:], h)
	}
	if !o.metadataCsum {
		return
	}
	crc := crc32cNumber(crc32cNumber(o.geometry.seed(b), uint32(block)), uint32(block>>32))
	crc = crc32c(crc32cNumber(crc32c(crc, raw[:16]), 0), raw[20:])
	le.PutUint32(raw[16:], crc)
}
