package mutate

import "testing"

// TestLayouts holds the places of some fields, and with them of all before, to
// the offsets in the kernel's headers.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		fields []field
		name   string
		off    int
	}{
		{superLayout, "s_magic", 0x38},
		{superLayout, "s_journal_inum", 0xe0},
		{superLayout, "s_blocks_count_hi", 0x150},
		{superLayout, "s_mmp_block", 0x168},
		{superLayout, "s_checksum_type", 0x175},
		{superLayout, "s_prj_quota_inum", 0x26c},
		{superLayout, "s_orphan_file_inum", 0x280},
		{superLayout, "s_checksum", 0x3fc},
		{groupLayout64, "bg_checksum", 0x1e},
		{groupLayout64, "bg_inode_bitmap_csum_hi", 0x3a},
		{inodeLayout, "i_block", 0x28},
		{inodeLayout, "i_checksum_lo", 0x7c},
		{inodeExtraLayout, "i_projid", 0x9c},
		{journalLayout, "s_checksum", 0xfc},
		{journalLayout, "s_users", 0x100},
		{mmpLayout, "mmp_checksum", 0x3fc},
		{quotaLayout, "dqb_itime", 64},
		{mbrLayout, "signature", 510},
		{gptHeaderLayout, "partition_entry_array_crc32", 0x58},
	} {
		if got := find(c.fields, c.name).off; got != c.off {
			t.Errorf("%s is at %#x, expected %#x", c.name, got, c.off)
		}
	}
}

// TestNumbers writes and reads fields of every size and byte order.
func TestNumbers(t *testing.T) {
	for _, big := range []bool{false, true} {
		for _, size := range []int{1, 2, 3, 4, 8} {
			f := field{off: 1, size: size, big: big}
			b := make([]byte, 10)
			f.put(b, 0x0102030405060708)
			if got, want := f.get(b), uint64(0x0102030405060708)&(1<<(8*size)-1); size < 8 && got != want || size == 8 && got != 0x0102030405060708 {
				t.Errorf("%d bytes, big-endian %t: %#x", size, big, got)
			}
			if b[0] != 0 || b[1+size] != 0 {
				t.Errorf("%d bytes, big-endian %t: wrote beside the field: %x", size, big, b)
			}
		}
	}
}
