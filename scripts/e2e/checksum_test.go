package e2e

import (
	"encoding/binary"
	"regexp"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// flips names one bit to flip in each kind of structure that has a checksum: a bit that means little or nothing, so
// that only the checksum gives it away. Each returns the byte's offset in the image.
var flips = []struct {
	name string
	args string // of mke2fs; empty: refusedArgs
	at   func(t *testing.T, image string) int64
	want string
}{
	{name: "superblock", want: `superblock`, at: func(t *testing.T, image string) int64 { return 1024 + 0x88 }}, // s_last_mounted
	{name: "group-descriptor", want: `group`, at: func(t *testing.T, image string) int64 { return 4096 + 0x1E }},
	{name: "group-descriptor-crc16", args: strings.Replace(refusedArgs, "metadata_csum", "^metadata_csum,uninit_bg", 1), want: `group`,
		at: func(t *testing.T, image string) int64 { return 4096 + 0x1E }},
	{name: "block-bitmap", want: `block bitmap`, at: func(t *testing.T, image string) int64 {
		return number(t, peer(t, "dumpe2fs", image), `Block bitmap at (\d+)`)*4096 + 4095
	}},
	{name: "inode-bitmap", want: `inode bitmap`, at: func(t *testing.T, image string) int64 {
		return number(t, peer(t, "dumpe2fs", image), `Inode bitmap at (\d+)`)*4096 + 4096/8 - 1 // 4096 inodes
	}},
	{name: "inode", want: `inode|file`, at: func(t *testing.T, image string) int64 { return inodeOffset(t, image, "/file") + 0x64 }}, // i_generation
	{name: "inode-of-a-folder", want: `inode|leaf`, at: func(t *testing.T, image string) int64 { return inodeOffset(t, image, "/leaf") + 0x64 }},
	{name: "inode-of-a-symlink", want: `inode|tree`, at: func(t *testing.T, image string) int64 {
		return inodeOffset(t, image, "/tree/"+strings.Repeat("t", 40)+"7") + 0x64
	}},
	{name: "extent-block", want: `extent`, at: func(t *testing.T, image string) int64 {
		leaf := number(t, debugfs(t, image, false, "dump_extents -n /extents"), `(?m)^ 0/ 1 .* (\d+) +\d+ *$`)
		return leaf*4096 + 4096 - 32 // an entry that is not in use
	}},
	{name: "directory-leaf", want: `director`, at: func(t *testing.T, image string) int64 { return firstBlock(t, image, "/leaf")*4096 + 4095 }},
	{name: "directory-leaf-of-a-tree", want: `director`, at: func(t *testing.T, image string) int64 {
		return number(t, debugfs(t, image, false, "bmap /tree 1"), `(?m)^(\d+)`)*4096 + 4095
	}},
	{name: "directory-tree-node", want: `director|tree|htree`, at: func(t *testing.T, image string) int64 { return firstBlock(t, image, "/tree")*4096 + 4095 }},
	{name: "attribute-block", want: `attribute`, at: func(t *testing.T, image string) int64 {
		return attributeBlock(t, image, "/attributes")*4096 + 2000 // between the entries and the values
	}},
	{name: "journal-superblock", want: `journal`, at: func(t *testing.T, image string) int64 {
		offset := firstBlock(t, image, "<8>") * 4096
		if binary.BigEndian.Uint32(peek(t, image, offset+0x28, 4))&0x18 == 0 { // INCOMPAT_CSUM_V2, V3
			t.Fatal("the journal has no checksum")
		}
		return offset + 0x60 // padding
	}},
	{name: "orphan-file", args: refusedArgs + " -O orphan_file", want: `orphan`, at: func(t *testing.T, image string) int64 {
		ino := number(t, peer(t, "dumpe2fs", "-h", image), `Orphan file inode: +(\d+)`)
		return firstBlock(t, image, "<"+itoa(int(ino))+">")*4096 + 4095
	}},
}

// inodeOffset is where an inode lies in the image.
func inodeOffset(t *testing.T, image, path string) int64 {
	t.Helper()
	out := debugfs(t, image, false, "imap "+path)
	return number(t, out, `block (\d+)`)*4096 + number(t, out, `offset (0x[0-9a-f]+)`)
}

// TestFlippedBits: one wrong bit in any structure with a checksum is found before anything is written.
func TestFlippedBits(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "debugfs", "dumpe2fs", "losetup", "openssl")
	for _, f := range flips {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			image := refused{args: f.args, spoil: asMade}.image(t, bed.Dir(t))
			fsck(t, image)
			at := f.at(t, image)
			poke(t, image, at, []byte{peek(t, image, at, 1)[0] ^ 0x10})
			// e2fsck must see it too, or the wrong byte was flipped. (For the superblock and the group descriptors it
			// may turn to a backup and then exit 0.)
			out, err := try("e2fsck", "-fn", image)
			if err == nil && !regexp.MustCompile(`(?i)checksum|backup|corrupt|invalid`).MatchString(out) {
				t.Fatalf("e2fsck finds nothing wrong:\n%s", out)
			}
			expectRefused(t, image, f.want)
		})
	}
}
