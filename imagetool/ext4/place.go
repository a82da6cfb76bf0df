package ext4

import (
	"cmp"
	"fmt"
	"slices"
)

// An op is what happens to the attributes in one place, the inode or its block.
type op uint8

const (
	opKeep    op = 0
	opSet     op = 1 << iota // set security.ima
	opDrop                   // remove security.ima
	opDropEVM                // remove security.evm
)

// apply returns the attributes after the operation. All others stay as they
// are, in the order in which they are.
func (o op) apply(entries []entry, value []byte, inBlock bool) []entry {
	out := make([]entry, 0, len(entries)+1)
	placed := false
	for _, e := range entries {
		switch {
		case e.is(indexSecurity, evmName) && o&opDropEVM != 0:
			continue
		case e.is(indexSecurity, imaName) && o&opDrop != 0:
			continue
		case e.is(indexSecurity, imaName) && o&opSet != 0:
			e, placed = imaEntry(value, inBlock), true
		}
		out = append(out, e)
	}
	if o&opSet == 0 || placed {
		return out
	}
	ima := imaEntry(value, inBlock)
	at := len(out)
	if inBlock { // blocks are sorted, inodes are not
		if i := slices.IndexFunc(out, func(e entry) bool { return compareEntries(&ima, &e) < 0 }); i >= 0 {
			at = i
		}
	}
	return slices.Insert(out, at, ima)
}

// imaEntry has a hash only inside a block (ext4_xattr_set_entry).
func imaEntry(value []byte, inBlock bool) entry {
	e := entry{index: indexSecurity, name: imaName, value: value}
	if inBlock {
		e.hash = e.entryHash(value, false)
	}
	return e
}

// compareEntries is the order inside a block (ext4_xattr_find_entry).
func compareEntries(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
}

// touches reports whether the operation changes these attributes at all.
func (o op) touches(entries []entry) bool {
	if o&opSet != 0 {
		return true
	}
	return slices.ContainsFunc(entries, func(e entry) bool {
		return e.is(indexSecurity, imaName) && o&opDrop != 0 || e.is(indexSecurity, evmName) && o&opDropEVM != 0
	})
}

// place decides where a value goes: into the inode if it fits, else into a
// block, as the kernel does (ext4_xattr_set_handle). Two things differ, so that
// no block is ever freed: a value that is in the block is replaced there, and a
// block that would become empty takes the value.
func (fs *FS) place(c *change, dropEVM bool) error {
	body, block, err := fs.allEntries(c.inode)
	if err != nil {
		return err
	}
	all := slices.Concat(body, block)
	for i := range all {
		e := &all[i]
		if e.inode != 0 && (e.is(indexSecurity, imaName) || dropEVM && e.is(indexSecurity, evmName)) {
			// Needed: the inode with the old value would have to be freed. An Edit frees
			// nothing, so that one that was cut short leaves nothing that two could own.
			return refuse(fmt.Sprintf(`on a copy of the image, 'debugfs -w -R "ea_rm <%d> %s" FILESYSTEM' removes it`, c.inode.Number, e.fullName()), "value of %s lies in inode %d (ea_inode), which cannot be replaced", e.fullName(), e.inode)
		}
	}
	c.others = othersDigest(all, dropEVM)
	for _, e := range block {
		if e.inode != 0 {
			c.values = append(c.values, e.inode)
		}
	}
	var evm op
	if dropEVM {
		evm = opDropEVM
	}
	inBody := [2]op{opSet | evm, opDrop | evm}
	inBlock := [2]op{opDrop | evm, opSet | evm}
	order := [][2]op{inBody, inBlock}
	if slices.ContainsFunc(block, func(e entry) bool { return e.is(indexSecurity, imaName) }) {
		order = [][2]op{inBlock, inBody}
	}
	for _, o := range order {
		newBody, newBlock := o[0].apply(body, c.value, false), o[1].apply(block, c.value, true)
		if !fs.fitsBody(c.inode, newBody) || xaBlockHeader+entriesSize(newBlock) > int(fs.sb.blockSize) || len(block) > 0 && len(newBlock) == 0 {
			continue
		}
		if o[0].touches(body) {
			c.body = o[0]
		}
		if o[1].touches(block) {
			c.block = o[1]
		}
		return nil
	}
	// Needed: the kernel, too, says ENOSPC.
	return refuse("leave the file out with a line 'skip PATH' in a file for --rules, or shorten its other extended attributes", "value of %d bytes does not fit beside its other extended attributes", len(c.value))
}

func (fs *FS) fitsBody(in *Inode, entries []entry) bool {
	if len(entries) == 0 {
		return true
	}
	return entriesSize(entries) <= len(in.bodyArea())-xaBodyHeader
}

// newBody writes the attributes inside the inode.
func (c *change) newBody(in *Inode) error {
	if c.body == opKeep {
		return nil
	}
	entries, err := in.bodyEntries()
	if err != nil {
		return err
	}
	entries = c.body.apply(entries, c.value, false)
	area := in.bodyArea()
	putEntries(area[xaBodyHeader:], 0, entries)
	le.PutUint32(area, xaMagic)
	if len(entries) == 0 {
		le.PutUint32(area, 0) // ext4_xattr_ibody_set
	}
	return nil
}

// newBlock builds the inode's attribute block from the one it has, if any.
func (fs *FS) newBlock(c *change, old []entry, refs uint32) []byte {
	raw := make([]byte, fs.sb.blockSize)
	entries := c.block.apply(old, c.value, true)
	le.PutUint32(raw, xaMagic)
	le.PutUint32(raw[xaOffBlocks:], 1)
	le.PutUint32(raw[xaOffHash:], blockHash(entries))
	putEntries(raw, xaBlockHeader, entries)
	fs.setRefs(c.to, raw, refs)
	return raw
}

// setRefs sets h_refcount and with it the checksum.
func (fs *FS) setRefs(block uint64, raw []byte, refs uint32) {
	le.PutUint32(raw[xaOffRefcount:], refs)
	if fs.sb.metadataCsum() {
		le.PutUint32(raw[xaOffChecksum:], fs.sb.xattrChecksum(block, raw))
	}
}

// blockHash is h_hash, by which the kernel finds blocks to share
// (ext4_xattr_rehash). 0 means: never shared.
func blockHash(entries []entry) (h uint32) {
	for i := range entries {
		if entries[i].hash == 0 {
			return 0
		}
		h = h<<16 ^ h>>16 ^ entries[i].hash
	}
	return h
}
