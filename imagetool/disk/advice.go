package disk

// Advice says what to do about something that is not an ext file system.
func Advice(kind string) string {
	switch kind {
	case "qcow2", "QED", "VMDK", "VHD", "VHDX", "VDI", "Parallels", "DMG":
		return "convert it first: qemu-img convert -O raw IMAGE image.raw"
	case "gzip":
		return "decompress it first: gzip -dk IMAGE"
	case "xz":
		return "decompress it first: xz -dk IMAGE"
	case "zstd":
		return "decompress it first: zstd -dk IMAGE"
	case "bzip2":
		return "decompress it first: bzip2 -dk IMAGE"
	case "lz4":
		return "decompress it first: lz4 -d IMAGE image.raw"
	case "zip", "7z", "tar":
		return "unpack the archive first; the disk image is one of its files"
	case "Android sparse":
		return "expand it first: simg2img IMAGE image.raw"
	case "iso9660", "squashfs", "erofs":
		return "it is read-only by design: sign the files before it is made, or use a disk image with ext4"
	case "crypto_LUKS":
		return "the contents are encrypted: sign the file system before it is encrypted"
	case "LVM2_member":
		return "copy the logical volume out (it is a raw file system image of its own) and sign that"
	case "linux_raid_member":
		return "it is one half of a mirror or stripe: assemble the array and sign a copy of that"
	case "jbd":
		return "this is the journal of another file system: name the image of that, with its journal moved inside (tune2fs -j)"
	case "xfs", "btrfs", "f2fs", "ntfs", "exfat", "vfat":
		return "only ext2, ext3 and ext4 are supported: mount it and use the signer command on the live tree"
	}
	return ""
}
