package mutate

// SetTimes sets the times of all files. The caller seals the image.
func (im *Image) SetTimes(t uint32) {
	for _, o := range im.objects {
		raw := o.bytes(im.Bytes)
		// The times of an inode with an attribute's value are its hash and its references.
		if o.kind != "inode" || find(inodeLayout, "i_mode").get(raw) == 0 || find(inodeLayout, "i_flags").get(raw)&flagEAInode != 0 {
			continue
		}
		for _, name := range []string{"i_atime", "i_ctime", "i_mtime"} {
			find(inodeLayout, name).put(raw, uint64(t))
			if im.inodeSize > 128 {
				find(inodeExtraLayout, name+"_extra").put(raw, 0)
			}
		}
	}
}

// Unmounted takes out what tune2fs writes into the block of multiple mount
// protection of itself and the moment, and seals it.
func (im *Image) Unmounted(t uint64) {
	for _, o := range im.objects {
		if o.kind != "mmp" {
			continue
		}
		raw := o.bytes(im.Bytes)
		find(mmpLayout, "mmp_time").put(raw, t)
		for _, name := range []string{"mmp_nodename", "mmp_bdevname"} {
			f := find(mmpLayout, name)
			clear(raw[f.off:][:f.size])
		}
		if o.seal != nil {
			o.seal(im.Bytes)
		}
	}
}

// SetJournalSums switches on the checksums of the journal, as the first mount
// does.
func (im *Image) SetJournalSums() {
	for _, o := range im.objects {
		if o.kind == "journal" {
			raw := o.bytes(im.Bytes)
			find(journalLayout, "s_feature_incompat").put(raw, 0x10) // JBD2_FEATURE_INCOMPAT_CSUM_V3
			find(journalLayout, "s_checksum_type").put(raw, 4)       // JBD2_CRC32C_CHKSUM
		}
	}
}

// Share makes two files without attributes of their own share the block of the
// first that has one. The caller seals the image.
func (im *Image) Share() {
	acl, blocks := find(inodeLayout, "i_file_acl_lo"), find(inodeLayout, "i_blocks_lo")
	var from *object
	var takers []*object
	for _, o := range im.objects {
		if o.kind != "inode" || o.owner < im.firstInode || !im.regular(o) {
			continue
		}
		switch has := acl.get(o.bytes(im.Bytes)) != 0; {
		case has && from == nil:
			from = o
		case !has && len(takers) < 2 && !im.hasAttributes(o):
			takers = append(takers, o)
		}
	}
	if from == nil {
		return
	}
	block := acl.get(from.bytes(im.Bytes))
	for _, o := range takers {
		raw := o.bytes(im.Bytes)
		acl.put(raw, block)
		blocks.put(raw, blocks.get(raw)+uint64(im.cluster*im.blockSize/512))
	}
	find(xattrHeaderLayout, "h_refcount").put(im.block(im.Bytes, block), uint64(1+len(takers)))
}

func (im *Image) regular(o *object) bool {
	raw := o.bytes(im.Bytes)
	flags := find(inodeLayout, "i_flags").get(raw)
	for _, special := range []string{"s_prj_quota_inum", "s_orphan_file_inum"} {
		if find(superLayout, special).get(im.super(im.Bytes)) == uint64(o.owner) {
			return false
		}
	}
	return find(inodeLayout, "i_mode").get(raw)&modeType == modeRegular && flags&(flagEAInode|flagInline) == 0
}

func (im *Image) hasAttributes(o *object) bool {
	for _, other := range im.objects {
		if other.owner == o.owner && (other.kind == "attribute" || other.kind == "attribute block") {
			return true
		}
	}
	return false
}
