package disk

// qemuFormats are what qemu-img calls containers. It does not recognise all of them.
var qemuFormats = map[string]string{
	"qcow2": "qcow2", "QED": "qed", "VMDK": "vmdk", "VHD": "vpc", "VHDX": "vhdx", "VDI": "vdi", "Parallels": "parallels", "DMG": "dmg",
}

// Advice says what to do about something that is not an ext file system.
func Advice(kind string) string {
	if format := qemuFormats[kind]; format != "" {
		return "convert it first: 'qemu-img convert -f " + format + " -O raw IMAGE image.raw'"
	}
	switch kind {
	case "gzip", "xz", "zstd", "bzip2", "lz4":
		return "decompress it first: '" + kind + " -dc IMAGE >image.raw'"
	case "tar":
		return "where it is an archive of the files that are to be signed, 'imagetool sign' and the like take it with --format tar; where the disk image is one of its files, unpack it first"
	case "zip", "7z":
		return "unpack the archive first; the disk image is one of its files"
	case "Android sparse":
		return "expand it first: 'simg2img IMAGE image.raw'"
	case "iso9660", "squashfs", "erofs":
		return "it is read-only by design: sign the files before it is made, or use a disk image with ext4"
	case "crypto_LUKS":
		return "the contents are encrypted: sign the file system before it is encrypted"
	case lvmMember:
		return "no volume group of this image has it; 'imagetool inspect IMAGE' says what is known of it"
	case "linux_raid_member":
		return "it is one half of a mirror or stripe: assemble the array and sign a copy of that"
	case "jbd":
		return "this is the journal of another file system: name the image of that"
	case "xfs", "btrfs", "f2fs":
		return "only ext2, ext3 and ext4 are supported; where it is mounted, 'signer sign --key KEY DIR' signs what it holds"
	case "exfat", "vfat":
		return "it has no extended attributes, and so no place for labels"
	}
	return ""
}
