package mutate

import "fmt"

// addDir adds the directory entries, the hash tree and the tails.
func (o *owner) addDir() {
	nodes := map[uint64]bool{}
	if o.has(flagIndex) {
		o.addIndex(0, 32, nodes) // behind ".", ".." and struct dx_root_info
		o.add(&object{kind: "dx info", where: o.where, at: o.blockAt(o.data[0]) + 24, fields: dxInfoLayout, owner: o.number})
	}
	for i, block := range o.data {
		switch at := o.blockAt(block); {
		case block == 0 || nodes[uint64(i)] && i > 0:
		case nodes[uint64(i)]:
			o.addDirent(at)
			o.addDirent(at + 12)
		default:
			o.addEntries(at, o.blockSize, fmt.Sprintf("block %d (%s)", i, o.where))
		}
	}
}

func (o *owner) addEntries(at, size int, where string) {
	end := at + size
	if o.metadataCsum && size == o.blockSize {
		end -= 12
		o.add(&object{kind: "directory tail", where: where, at: end, fields: direntTailLayout, owner: o.number,
			seal: func(b []byte) { le.PutUint32(b[end+8:], crc32c(o.seed(b), b[at:end])) }})
	}
	for p, n := at, 0; p < end; n++ {
		length := int(le.Uint16(o.Bytes[p+4:]))
		if n < 8 || p+length == end {
			o.addDirent(p)
		}
		p += length
	}
}

func (o *owner) addDirent(at int) {
	fields := direntLayout
	if n := int(o.Bytes[at+6]); n > 0 {
		fields = append(fields[:len(fields):len(fields)], field{name: "name", off: 8, size: n, text: true})
	}
	size := min(int(le.Uint16(o.Bytes[at+4:])), 8+int(o.Bytes[at+6]))
	o.add(&object{kind: "directory entry", where: o.where, at: at, size: max(8, size), fields: fields, owner: o.number})
}

// addInlineDir adds the entries that lie in i_block; the ones in system.data
// are an attribute's value.
func (o *owner) addInlineDir() {
	at := o.at + inodeBlockOff
	o.add(&object{kind: "inline directory", where: o.where, at: at, fields: inlineDirLayout, owner: o.number})
	o.addEntries(at+4, inodeBlockSize-4, o.where)
}

// addIndex adds a node of the hash tree: the count and limit at off, then the
// references, to leaves in the end.
func (o *owner) addIndex(logical uint64, off int, nodes map[uint64]bool) {
	nodes[logical] = true
	at := o.blockAt(o.data[logical])
	where := fmt.Sprintf("block %d (%s)", logical, o.where)
	head := o.Bytes[at+off:]
	limit, count := int(le.Uint16(head)), int(le.Uint16(head[2:]))
	o.add(&object{kind: "dx count", where: where, at: at + off, fields: dxCountLayout, owner: o.number})
	for i := 1; i < count; i++ {
		o.add(&object{kind: "dx entry", where: where, at: at + off + 8*i, fields: dxEntryLayout, owner: o.number})
	}
	if logical > 0 {
		o.addDirent(at) // a node poses as one unused entry
	}
	if o.metadataCsum {
		tail := at + off + 8*limit
		o.add(&object{kind: "dx tail", where: where, at: tail, fields: dxTailLayout, owner: o.number,
			seal: func(b []byte) { o.sealIndex(b, at, off, tail) }})
	}
	levels := o.Bytes[o.blockAt(o.data[0])+30]
	if logical > 0 {
		levels-- // trees here have two at most
	}
	for i := 0; i < count && levels > 0; i++ {
		o.addIndex(uint64(le.Uint32(head[8*i+4:])), 8, nodes)
	}
}

// sealIndex follows ext4_dx_csum, as far as the count makes sense.
func (o *owner) sealIndex(b []byte, at, off, tail int) {
	used := off + 8*int(le.Uint16(b[at+off+2:]))
	if at+used > tail {
		return
	}
	crc := crc32c(crc32c(o.seed(b), b[at:at+used]), b[tail:tail+4])
	le.PutUint32(b[tail+4:], crc32cNumber(crc, 0))
}
