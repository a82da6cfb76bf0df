package disk

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/vmseal/vmseal/imagetool/block"
)

// headSize is how much of a disk or partition is looked at. The last magic
// number lies in btrfs's superblock at 64 KiB.
const headSize = 68 << 10

// A magic is one spelling of a signature at a fixed place.
type magic struct {
	name string
	at   int64
	want string
}

// containers are formats whose bytes are not those of the disk.
var containers = []magic{
	{"qcow2", 0, "QFI\xfb"},                   // docs/interop/qcow2.txt of QEMU
	{"QED", 0, "QED\x00"},                     // docs/interop/qed_spec.rst of QEMU
	{"VMDK", 0, "KDMV"},                       // VMDK4_MAGIC in QEMU's block/vmdk.c
	{"VMDK", 0, "COWD"},                       // VMDK3_MAGIC
	{"VMDK", 0, "# Disk DescriptorFile"},      // its text descriptor
	{"VHD", 0, "conectix"},                    // copy of the footer of a dynamic disk
	{"VHDX", 0, "vhdxfile"},                   // VHDX_FILE_SIGNATURE
	{"VDI", 64, "\x7f\x10\xda\xbe"},           // VDI_SIGNATURE 0xbeda107f
	{"Parallels", 0, "WithoutFreeSpace"},      // HEADER_MAGIC in QEMU's block/parallels.c
	{"Parallels", 0, "WithouFreSpacExt"},      // HEADER_MAGIC2
	{"DMG", -512, "koly"},                     // trailer of an Apple disk image
	{"VHD", -512, "conectix"},                 // footer, also of a fixed disk
	{"gzip", 0, "\x1f\x8b\x08"},               // RFC 1952, deflate
	{"xz", 0, "\xfd7zXZ\x00"},                 // the .xz file format, 2.1.1.1
	{"zstd", 0, "\x28\xb5\x2f\xfd"},           // RFC 8878
	{"lz4", 0, "\x04\x22\x4d\x18"},            // LZ4 frame format
	{"bzip2", 0, "BZh"},                       // confirmed by bzip2Block
	{"zip", 0, "PK\x03\x04"},                  // APPNOTE 4.3.7
	{"7z", 0, "7z\xbc\xaf\x27\x1c"},           // 7zFormat.txt
	{"tar", 257, "ustar"},                     // POSIX pax, ustar; OVA is one
	{"Android sparse", 0, "\x3a\xff\x26\xed"}, // SPARSE_HEADER_MAGIC
}

// bzip2Block is the magic of a bzip2 block, after "BZh" and the level.
const bzip2Block = "1AY&SY"

// contents are what can lie in a partition or on a whole disk.
var contents = []magic{
	{"crypto_LUKS", 0, "LUKS\xba\xbe"},
	{"BitLocker", 3, "-FVE-FS-"},                    // OEM id of its boot sector
	{VerityHash, 0, "verity\x00\x00"},               // VERITY_SIGNATURE of cryptsetup
	{"xfs", 0, "XFSB"},                              // XFS_SB_MAGIC
	{"squashfs", 0, "hsqs"},                         // SQUASHFS_MAGIC
	{"cramfs", 0, "\x45\x3d\xcd\x28"},               // CRAMFS_MAGIC
	{"romfs", 0, "-rom1fs-"},                        // ROMSB_WORD0 and 1
	{"ubi", 0, "UBI#"},                              // UBI_EC_HDR_MAGIC
	{"ubifs", 0, "\x31\x18\x10\x06"},                // UBIFS_NODE_MAGIC
	{"btrfs", 64<<10 + 64, "_BHRfS_M"},              // BTRFS_MAGIC
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},              // F2FS_SUPER_MAGIC
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},             // EROFS_SUPER_MAGIC_V1
	{"iso9660", 32769, "CD001"},                     // ISO_STANDARD_ID
	{"ntfs", 3, "NTFS    "},                         // likewise OEM ids
	{"refs", 3, "ReFS\x00\x00\x00\x00"},             //
	{"exfat", 3, "EXFAT   "},                        // likewise
	{"vfat", 82, "FAT32   "},                        // BS_FilSysType
	{"vfat", 54, "FAT16   "},                        // likewise
	{"vfat", 54, "FAT12   "},                        // likewise
	{lvmMember, 0, "LABELONE"},                      // struct label_header, in one of the
	{lvmMember, 512, "LABELONE"},                    // first four sectors
	{lvmMember, 1024, "LABELONE"},                   //
	{lvmMember, 1536, "LABELONE"},                   //
	{"swap", 4<<10 - 10, "SWAPSPACE2"},              // union swap_header, at the end of
	{"swap", 8<<10 - 10, "SWAPSPACE2"},              // its first page
	{"swap", 16<<10 - 10, "SWAPSPACE2"},             //
	{"swap", 64<<10 - 10, "SWAPSPACE2"},             //
	{"linux_raid_member", 0, "\xfc\x4e\x2b\xa9"},    // MD_SB_MAGIC, metadata 1.1
	{"linux_raid_member", 4096, "\xfc\x4e\x2b\xa9"}, // metadata 1.2
}

// A view is the beginning of a disk or volume, with a way to look at its end.
type view struct {
	dev   block.Device
	start int64 // of dev on the disk
	head  []byte
}

func newView(dev block.Device, start int64) (*view, error) {
	head := make([]byte, min(dev.Size(), headSize))
	if _, err := dev.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return &view{dev, start, head}, nil
}

// has reports whether want stands at the offset; a negative one counts from the end.
func (v *view) has(at int64, want string) (bool, error) {
	if at >= 0 {
		end := at + int64(len(want))
		return end <= int64(len(v.head)) && string(v.head[at:end]) == want, nil
	}
	if at += v.dev.Size(); at < 0 {
		return false, nil
	}
	b := make([]byte, len(want))
	if _, err := v.dev.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return string(b) == want, nil
}

// container names the container format, or returns "" for a raw image.
func (v *view) container() (string, error) {
	for _, m := range containers {
		ok, err := v.has(m.at, m.want)
		if err != nil {
			return "", err
		}
		if ok && m.name == "bzip2" {
			ok, err = v.has(4, bzip2Block)
		}
		if ok || err != nil {
			return m.name, err
		}
	}
	return "", nil
}

// found lists every kind of content that has its signature here.
func (v *view) found() ([]string, error) {
	var kinds []string
	add := func(kind string) {
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
	}
	if kind := extKind(v.head); kind != "" {
		add(kind)
	}
	for _, m := range contents {
		if ok, err := v.has(m.at, m.want); err != nil {
			return nil, err
		} else if ok {
			add(m.name)
		}
	}
	if raid, err := v.raidAtEnd(); err != nil {
		return nil, err
	} else if raid {
		add("linux_raid_member")
	}
	for _, m := range rareContents {
		if len(kinds) > 0 {
			break
		}
		if ok, err := v.has(m.at, m.want); err != nil {
			return nil, err
		} else if ok {
			add(m.name)
		}
	}
	return kinds, nil
}

// raidAtEnd looks for MD_SB_MAGIC where metadata 0.90 (md_p.h, MD_NEW_SIZE_SECTORS)
// and 1.0 (super_1_load in drivers/md/md.c) keep it: such a mirror half looks like
// the file system itself, and changing one half breaks the mirror.
func (v *view) raidAtEnd() (bool, error) {
	const mdMagic = "\xfc\x4e\x2b\xa9"
	sectors := v.dev.Size() / 512
	for _, at := range []int64{
		(sectors&^127 - 128) * 512,
		(sectors - 16) &^ 7 * 512,
	} {
		if at < headSize {
			continue
		}
		if ok, err := v.has(at-v.dev.Size(), mdMagic); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// extKind recognises struct ext4_super_block, which lies at 1024. Two bytes of
// magic are few, so the fields that ext4_load_super checks first must be sane too.
func extKind(head []byte) string {
	const (
		superOffset     = 1024
		journalDev      = 0x0008                   // EXT4_FEATURE_INCOMPAT_JOURNAL_DEV
		hasJournal      = 0x0004                   // EXT4_FEATURE_COMPAT_HAS_JOURNAL
		ext3Incompat    = 0x0002 | 0x0004 | 0x0010 // FILETYPE, RECOVER, META_BG
		ext3ROCompat    = 0x0001 | 0x0002          // SPARSE_SUPER, LARGE_FILE
		maxLogBlockSize = 6                        // EXT4_MAX_BLOCK_LOG_SIZE 16, minus 10
	)
	if len(head) < superOffset+264 {
		return ""
	}
	le, sb := binary.LittleEndian, head[superOffset:]
	sane := le.Uint16(sb[56:]) == 0xef53 && // s_magic
		le.Uint32(sb[24:]) <= maxLogBlockSize &&
		le.Uint32(sb[32:]) != 0 && // s_blocks_per_group
		le.Uint32(sb[76:]) <= 1 // s_rev_level
	switch {
	case !sane:
		return ""
	case le.Uint32(sb[96:])&journalDev != 0: // has no inodes
		return "jbd"
	case le.Uint32(sb[0:]) == 0: // s_inodes_count
		return ""
	case le.Uint32(sb[96:])&^ext3Incompat != 0 || le.Uint32(sb[100:])&^ext3ROCompat != 0:
		return "ext4"
	case le.Uint32(sb[92:])&hasJournal != 0:
		return "ext3"
	}
	return "ext2"
}
