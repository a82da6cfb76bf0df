package mutate

import "fmt"

// addMap walks an inode's extent tree or its block pointers.
func (o *owner) addMap() {
	at := o.at + inodeBlockOff
	if o.has(flagExtents) {
		o.addExtents(at, inodeBlockSize, o.where)
		return
	}
	for i := range 15 {
		o.addPointer(at+4*i, max(0, i-11), o.where)
	}
}

func (o *owner) addExtents(at, size int, where string) {
	node := o.Bytes[at:][:size]
	get := func(name string, b []byte, fields []field) uint64 { return find(fields, name).get(b) }
	entries, depth := int(get("eh_entries", node, extentHeaderLayout)), get("eh_depth", node, extentHeaderLayout)
	o.add(&object{kind: "extent header", where: where, at: at, fields: extentHeaderLayout, owner: o.number})
	for i := range entries {
		e := at + 12*(i+1)
		if depth > 0 {
			o.add(&object{kind: "extent index", where: where, at: e, fields: extentIndexLayout, owner: o.number})
			child := get("ei_leaf_lo", o.Bytes[e:], extentIndexLayout)
			o.note(child)
			o.addExtentBlock(child)
			continue
		}
		o.add(&object{kind: "extent", where: where, at: e, fields: extentLayout, owner: o.number})
		b := o.Bytes[e:]
		o.addRun(get("ee_block", b, extentLayout), get("ee_start_lo", b, extentLayout), get("ee_len", b, extentLayout))
	}
}

func (o *owner) addExtentBlock(block uint64) {
	at := o.blockAt(block)
	o.addExtents(at, o.blockSize, fmt.Sprintf("block %d (%s)", block, o.where))
	if !o.metadataCsum {
		return
	}
	// Behind as many entries as there is room for (ext4_extent_tail_offset).
	max := find(extentHeaderLayout, "eh_max").get(o.Bytes[at:])
	tail := at + 12*(1+int(max))
	o.add(&object{kind: "extent tail", where: o.where, at: tail, fields: extentTailLayout, owner: o.number,
		seal: func(b []byte) { le.PutUint32(b[tail:], crc32c(o.seed(b), b[at:tail])) }})
}

const maxInitialized = 32768 // EXT_INIT_MAX_LEN; more means unwritten

// addRun takes data blocks into the list of contents.
func (o *owner) addRun(logical, physical, count uint64) {
	if count > maxInitialized {
		count -= maxInitialized
	}
	for i := range count {
		o.addData(logical+i, physical+i)
	}
	o.note(physical)
}

// addData remembers the blocks of contents that may be metadata.
func (o *owner) addData(logical, physical uint64) {
	const most = 1 << 12
	for logical >= uint64(len(o.data)) && len(o.data) < most {
		o.data = append(o.data, 0)
	}
	if logical < uint64(len(o.data)) {
		o.data[logical] = physical
	}
}

// addPointer adds one block pointer, and what lies below it if it is level
// blocks of pointers away from the data.
func (o *owner) addPointer(at, level int, where string) {
	o.add(&object{kind: fmt.Sprintf("pointer to level %d", level), where: where, at: at, fields: pointerLayout, owner: o.number})
	block := uint64(le.Uint32(o.Bytes[at:]))
	if block == 0 {
		return
	}
	o.note(block)
	if level == 0 {
		o.addData(uint64(len(o.data)), block)
		return
	}
	for i, holes := 0, 0; i < o.blockSize; i += 4 {
		at := o.blockAt(block) + i
		if le.Uint32(o.Bytes[at:]) == 0 {
			if holes++; holes > 2 {
				continue
			}
		}
		o.addPointer(at, level-1, fmt.Sprintf("block %d (%s)", block, o.where))
	}
}
