package mutate

import "encoding/binary"

// Everything is little-endian but the journal.
var le = binary.LittleEndian

// struct ext4_super_block (fs/ext4/ext4.h).
var superLayout = layout(`
	s_inodes_count:4 s_blocks_count_lo:4 s_r_blocks_count_lo:4 s_free_blocks_count_lo:4 s_free_inodes_count:4
	s_first_data_block:4 s_log_block_size:4 s_log_cluster_size:4 s_blocks_per_group:4 s_clusters_per_group:4
	s_inodes_per_group:4 s_mtime:4 s_wtime:4 s_mnt_count:2 s_max_mnt_count:2 s_magic:2 s_state:2 s_errors:2
	s_minor_rev_level:2 s_lastcheck:4 s_checkinterval:4 s_creator_os:4 s_rev_level:4 s_def_resuid:2 s_def_resgid:2
	s_first_ino:4i s_inode_size:2 s_block_group_nr:2 s_feature_compat:4 s_feature_incompat:4 s_feature_ro_compat:4
	s_uuid:16 s_volume_name:16 s_last_mounted:64 s_algorithm_usage_bitmap:4 s_prealloc_blocks:1
	s_prealloc_dir_blocks:1 s_reserved_gdt_blocks:2 s_journal_uuid:16 s_journal_inum:4i s_journal_dev:4
	s_last_orphan:4i s_hash_seed:16 s_def_hash_version:1 s_jnl_backup_type:1 s_desc_size:2 s_default_mount_opts:4
	s_first_meta_bg:4 s_mkfs_time:4 s_jnl_blocks:4b*17 s_blocks_count_hi:4 s_r_blocks_count_hi:4
	s_free_blocks_count_hi:4 s_min_extra_isize:2 s_want_extra_isize:2 s_flags:4 s_raid_stride:2
	s_mmp_update_interval:2 s_mmp_block:8b s_raid_stripe_width:4 s_log_groups_per_flex:1 s_checksum_type:1
	s_encryption_level:1 s_reserved_pad:1 s_kbytes_written:8 s_snapshot_inum:4i s_snapshot_id:4
	s_snapshot_r_blocks_count:8 s_snapshot_list:4i s_error_count:4 s_first_error_time:4 s_first_error_ino:4i
	s_first_error_block:8b s_first_error_func:32 s_first_error_line:4 s_last_error_time:4 s_last_error_ino:4i
	s_last_error_line:4 s_last_error_block:8b s_last_error_func:32 s_mount_opts:64 s_usr_quota_inum:4i
	s_grp_quota_inum:4i s_overhead_blocks:4 s_backup_bgs:4*2 s_encrypt_algos:1*4 s_encrypt_pw_salt:16 s_lpf_ino:4i
	s_prj_quota_inum:4i s_checksum_seed:4 s_wtime_hi:1 s_mtime_hi:1 s_mkfs_time_hi:1 s_lastcheck_hi:1
	s_first_error_time_hi:1 s_last_error_time_hi:1 s_first_error_errcode:1 s_last_error_errcode:1 s_encoding:2
	s_encoding_flags:2 s_orphan_file_inum:4i s_reserved:376 s_checksum:4`)

// struct ext4_group_desc (fs/ext4/ext4.h): the first half, and all of it.
var (
	groupLayout32 = layout(`
		bg_block_bitmap_lo:4b bg_inode_bitmap_lo:4b bg_inode_table_lo:4b bg_free_blocks_count_lo:2
		bg_free_inodes_count_lo:2 bg_used_dirs_count_lo:2 bg_flags:2 bg_exclude_bitmap_lo:4 bg_block_bitmap_csum_lo:2
		bg_inode_bitmap_csum_lo:2 bg_itable_unused_lo:2 bg_checksum:2`)
	groupLayout64 = append(groupLayout32[:len(groupLayout32):len(groupLayout32)], shifted(32, layout(`
		bg_block_bitmap_hi:4 bg_inode_bitmap_hi:4 bg_inode_table_hi:4 bg_free_blocks_count_hi:2
		bg_free_inodes_count_hi:2 bg_used_dirs_count_hi:2 bg_itable_unused_hi:2 bg_exclude_bitmap_hi:4
		bg_block_bitmap_csum_hi:2 bg_inode_bitmap_csum_hi:2 bg_reserved:4`))...)
)

// struct ext4_inode (fs/ext4/ext4.h): what every inode has, and what follows
// in those of more than 128 bytes. i_block has a layout of its own.
var (
	inodeLayout = layout(`
		i_mode:2 i_uid:2 i_size_lo:4 i_atime:4 i_ctime:4 i_mtime:4 i_dtime:4i i_gid:2 i_links_count:2 i_blocks_lo:4
		i_flags:4 i_version:4 i_block:60 i_generation:4 i_file_acl_lo:4b i_size_high:4 i_obso_faddr:4b i_blocks_high:2
		i_file_acl_high:2 i_uid_high:2 i_gid_high:2 i_checksum_lo:2 i_reserved:2`)
	inodeExtraLayout = shifted(128, layout(`
		i_extra_isize:2 i_checksum_hi:2 i_ctime_extra:4 i_mtime_extra:4 i_atime_extra:4 i_crtime:4 i_crtime_extra:4
		i_version_hi:4 i_projid:4`))
)

// struct ext4_extent_header, ext4_extent, ext4_extent_idx and ext4_extent_tail
// (fs/ext4/ext4_extents.h), and a block of block numbers.
var (
	extentHeaderLayout = layout("eh_magic:2 eh_entries:2 eh_max:2 eh_depth:2 eh_generation:4")
	extentLayout       = layout("ee_block:4 ee_len:2 ee_start_hi:2 ee_start_lo:4b")
	extentIndexLayout  = layout("ei_block:4 ei_leaf_lo:4b ei_leaf_hi:2 ei_unused:2")
	extentTailLayout   = layout("et_checksum:4")
	pointerLayout      = layout("pointer:4b")
)

// struct ext4_dir_entry_2 and ext4_dir_entry_tail (fs/ext4/ext4.h), struct
// dx_root_info, dx_countlimit with the first block, dx_entry and dx_tail
// (fs/ext4/namei.c), and the number of the parent before an inline directory.
var (
	direntLayout     = layout("inode:4i rec_len:2 name_len:1 file_type:1")
	direntTailLayout = layout("det_reserved_zero1:4 det_rec_len:2 det_reserved_zero2:1 det_reserved_ft:1 det_checksum:4")
	dxInfoLayout     = layout("reserved_zero:4 hash_version:1 info_length:1 indirect_levels:1 unused_flags:1")
	dxCountLayout    = layout("limit:2 count:2 block:4")
	dxEntryLayout    = layout("hash:4 block:4")
	dxTailLayout     = layout("dt_reserved:4 dt_checksum:4")
	inlineDirLayout  = layout("i_dotdot:4i")
)

// struct ext4_xattr_ibody_header, ext4_xattr_header and ext4_xattr_entry
// (fs/ext4/xattr.h).
var (
	xattrBodyLayout   = layout("h_magic:4")
	xattrHeaderLayout = layout("h_magic:4 h_refcount:4 h_blocks:4 h_hash:4 h_checksum:4 h_reserved:4*3")
	xattrEntryLayout  = layout("e_name_len:1 e_name_index:1 e_value_offs:2 e_value_inum:4i e_value_size:4 e_hash:4")
)

// struct journal_superblock_s (include/linux/jbd2.h), struct
// ext4_orphan_block_tail and mmp_struct (fs/ext4/ext4.h).
var (
	journalLayout = bigEndian(layout(`
		h_magic:4 h_blocktype:4 h_sequence:4 s_blocksize:4 s_maxlen:4 s_first:4 s_sequence:4 s_start:4 s_errno:4
		s_feature_compat:4 s_feature_incompat:4 s_feature_ro_compat:4 s_uuid:16 s_nr_users:4 s_dynsuper:4
		s_max_transaction:4 s_max_trans_data:4 s_checksum_type:1 s_padding2:3 s_num_fc_blks:4 s_head:4 s_padding:160
		s_checksum:4 s_users:768`))
	orphanTailLayout = layout("ob_magic:4 ob_checksum:4")
	orphanLayout     = layout("orphan:4i")
	mmpLayout        = layout(`
		mmp_magic:4 mmp_seq:4 mmp_time:8 mmp_nodename:64 mmp_bdevname:32 mmp_check_interval:2 mmp_pad1:2 mmp_pad2:904
		mmp_checksum:4`)
)

// struct v2_disk_dqheader with v2_disk_dqinfo, qt_disk_dqdbheader and
// v2r1_disk_dqblk (fs/quota/quotaio_v2.h, quota_tree.h).
var (
	quotaHeaderLayout = layout(`
		dqh_magic:4 dqh_version:4 dqi_bgrace:4 dqi_igrace:4 dqi_flags:4 dqi_blocks:4 dqi_free_blk:4 dqi_free_entry:4`)
	quotaTreeLayout = layout("dqt_block:4")
	quotaLeafLayout = layout("dqdh_next_free:4 dqdh_prev_free:4 dqdh_entries:2 dqdh_pad1:2 dqdh_pad2:4")
	quotaLayout     = layout(`
		dqb_id:4 dqb_pad:4 dqb_ihardlimit:8 dqb_isoftlimit:8 dqb_curinodes:8 dqb_bhardlimit:8 dqb_bsoftlimit:8
		dqb_curspace:8 dqb_btime:8 dqb_itime:8`)
)

// struct legacy_mbr, its partition, gpt_header and gpt_entry (block/partitions/efi.h).
var (
	mbrLayout = layout(`
		boot_code:440 unique_mbr_signature:4 unknown:2 boot_indicator:1 start_chs:3 os_type:1 end_chs:3 starting_lba:4
		size_in_lba:4 other_partitions:48 signature:2`)
	gptHeaderLayout = layout(`
		signature:8 revision:4 header_size:4 header_crc32:4 reserved1:4 my_lba:8 alternate_lba:8 first_usable_lba:8
		last_usable_lba:8 disk_guid:16 partition_entry_lba:8 num_partition_entries:4 sizeof_partition_entry:4
		partition_entry_array_crc32:4`)
	gptEntryLayout = layout(`
		partition_type_guid:16 unique_partition_guid:16 starting_lba:8 ending_lba:8 attributes:8 partition_name:72`)
)

// shifted moves fields up by off bytes.
func shifted(off int, fields []field) []field {
	out := make([]field, len(fields))
	for i, f := range fields {
		f.off += off
		out[i] = f
	}
	return out
}
