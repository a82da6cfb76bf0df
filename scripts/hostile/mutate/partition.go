package mutate

import "hash/crc32"

const sector = 512

// addPartitionTable adds the protective MBR and both copies of the GPT.
func (im *Image) addPartitionTable() {
	im.add(&object{kind: "mbr", at: 0, fields: mbrLayout, rank: outer})
	im.addGPT(1, "the start")
	im.addGPT(len(im.Bytes)/sector-1, "the end")
}

func (im *Image) addGPT(lba int, where string) {
	at := lba * sector
	get := func(name string) int { return int(find(gptHeaderLayout, name).get(im.Bytes[at:])) }
	entries, n, size := get("partition_entry_lba")*sector, get("num_partition_entries"), get("sizeof_partition_entry")
	for i := range 2 {
		im.add(&object{kind: "gpt entry", where: where, at: entries + i*size, fields: gptEntryLayout})
	}
	h := im.add(&object{kind: "gpt header", where: where, at: at, fields: gptHeaderLayout, rank: outer})
	h.seal = func(b []byte) {
		raw := h.bytes(b)
		find(gptHeaderLayout, "partition_entry_array_crc32").put(raw, uint64(crc32.ChecksumIEEE(b[entries:][:n*size])))
		sum := find(gptHeaderLayout, "header_crc32")
		sum.put(raw, 0)
		sum.put(raw, uint64(crc32.ChecksumIEEE(raw)))
	}
}
