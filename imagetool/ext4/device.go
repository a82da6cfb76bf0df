package ext4

// Device is the device that the inode of a device node stands for (ext4_iget: the
// first word of i_block in the old encoding, else the second in the new one).
func (in *Inode) Device() (major, minor uint32) {
	if t := in.Mode & modeType; t != modeChar && t != modeBlock {
		return 0, 0
	}
	b := in.iBlock()
	if old := le.Uint32(b); old != 0 { // old_decode_dev, of 16 bits
		return old >> 8 & 0xff, old & 0xff
	}
	dev := le.Uint32(b[4:]) // new_decode_dev
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
