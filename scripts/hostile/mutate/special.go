package mutate

import (
	"encoding/binary"
	"fmt"
)

// addJournal adds the journal's superblock.
func (o *owner) addJournal() {
	at := o.blockAt(o.data[0])
	j := o.add(&object{kind: "journal", at: at, fields: journalLayout, owner: o.number})
	const csumV2, csumV3 = 0x8, 0x10 // JBD2_FEATURE_INCOMPAT_CSUM_V2, _V3
	if find(journalLayout, "s_feature_incompat").get(o.Bytes[at:])&(csumV2|csumV3) == 0 {
		return
	}
	sum := find(journalLayout, "s_checksum")
	j.seal = func(b []byte) {
		sum.put(j.bytes(b), 0)
		binary.BigEndian.PutUint32(j.bytes(b)[sum.off:], crc32c(^uint32(0), j.bytes(b)))
	}
}

// addOrphanFile adds the blocks of the orphan file.
func (o *owner) addOrphanFile() {
	for _, block := range o.data {
		at := o.blockAt(block)
		tail := at + o.blockSize - 8
		where := fmt.Sprintf("block %d (%s)", block, o.where)
		o.add(&object{kind: "orphan file", where: where, at: at, fields: orphanLayout, owner: o.number})
		t := o.add(&object{kind: "orphan tail", where: where, at: tail, fields: orphanTailLayout, owner: o.number})
		if o.metadataCsum {
			// ext4_orphan_file_block_csum
			t.seal = func(b []byte) {
				crc := crc32cNumber(crc32cNumber(o.seed(b), uint32(block)), uint32(block>>32))
				le.PutUint32(b[tail+4:], crc32c(crc, b[at:tail]))
			}
		}
	}
}

const (
	quotaBlock = 1024 // 1 << QUOTABLOCK_BITS
	quotaDepth = 4    // QT_TREEDEPTH for blocks of 1 KiB
)

// addQuota adds a quota file: its header and the tree behind it.
func (o *owner) addQuota() {
	at := o.quotaAt(0)
	if at == 0 {
		return
	}
	o.add(&object{kind: "quota header", where: o.where, at: at, fields: quotaHeaderLayout, owner: o.number})
	o.addQuotaTree(1, 0)
}

// quotaAt is where a block of the quota file lies, 0 if nowhere.
func (o *owner) quotaAt(n uint32) int {
	i := int(n) * quotaBlock / o.blockSize
	if i >= len(o.data) || o.data[i] == 0 {
		return 0
	}
	return o.blockAt(o.data[i]) + int(n)*quotaBlock%o.blockSize
}

func (o *owner) addQuotaTree(n uint32, depth int) {
	at := o.quotaAt(n)
	if at == 0 {
		return
	}
	where := fmt.Sprintf("quota block %d (%s)", n, o.where)
	if depth == quotaDepth {
		o.add(&object{kind: "quota leaf", where: where, at: at, fields: quotaLeafLayout, owner: o.number})
		for i := range 3 {
			o.add(&object{kind: "quota", where: where, at: at + 16 + 72*i, fields: quotaLayout, owner: o.number})
		}
		return
	}
	for i := 0; i < quotaBlock; i += 4 {
		if child := le.Uint32(o.Bytes[at+i:]); child != 0 {
			o.add(&object{kind: "quota tree", where: where, at: at + i, fields: quotaTreeLayout, owner: o.number})
			o.addQuotaTree(child, depth+1)
		}
	}
}
