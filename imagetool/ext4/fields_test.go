package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// oddImage has a file of each kind, and one that was deleted before.
func oddImage(t *testing.T, args ...string) memory {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "file"), pattern(5000, 1), 0o644),
		os.WriteFile(filepath.Join(dir, "gone"), nil, 0o644),
		os.Symlink("file", filepath.Join(dir, "short")),
		os.Symlink(strings.Repeat("x", 100), filepath.Join(dir, "long")),
		os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		os.WriteFile(filepath.Join(dir, "dir/last"), nil, 0o644),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, dir, "4M", append([]string{"-b", "1024", "-N", "64", "-J", "size=1"}, args...)...)
	debugfs(t, img, "rm /gone")
	fsck(t, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFields sets one field after the other to what no kernel writes, with every
// checksum right. e2fsck would mend it; we must refuse it.
func TestFields(t *testing.T) {
	modern := oddImage(t, "-t", "ext4", "-O", "64bit,metadata_csum")
	old := oddImage(t, "-t", "ext3", "-I", "128")
	inline := oddImage(t, "-t", "ext4", "-O", "inline_data,^64bit")
	set := func(path string, edit func(raw []byte)) func(*testing.T, memory, *FS) {
		return func(t *testing.T, m memory, fs *FS) { editInode(t, m, fs, lookup(t, fs, path), edit) }
	}
	reserved := func(number uint32, edit func(raw []byte)) func(*testing.T, memory, *FS) {
		return func(t *testing.T, m memory, fs *FS) { editInode(t, m, fs, inode(t, fs, number), edit) }
	}
	deleted := func(edit func(raw []byte)) func(*testing.T, memory, *FS) {
		return func(t *testing.T, m memory, fs *FS) {
			for n := fs.sb.firstInode; n <= fs.sb.inodes; n++ {
				if in := inode(t, fs, n); in.Links == 0 && in.Mode != 0 {
					editInode(t, m, fs, in, edit)
					return
				}
			}
			t.Fatal("no inode was deleted")
		}
	}
	super := func(edit func(sb []byte)) func(*testing.T, memory, *FS) {
		return func(_ *testing.T, m memory, _ *FS) { patch(m, edit) }
	}
	journal := func(off int, v uint32) func(*testing.T, memory, *FS) {
		return func(t *testing.T, m memory, fs *FS) {
			binary.BigEndian.PutUint32(m[journalBlock(t, fs)*fs.sb.blockSize:][off:], v)
		}
	}
	flags := func(raw []byte, set uint32) { le.PutUint32(raw[inFlags:], le.Uint32(raw[inFlags:])|set) }
	for _, c := range []struct {
		name, want string
		image      memory
		edit       func(*testing.T, memory, *FS)
	}{
		{"i_faddr", "i_faddr is not 0", modern, set("/file", func(raw []byte) { raw[inFaddr]++ })},
		{"size of a directory", "i_size_high is not 0", modern, set("/dir", func(raw []byte) { raw[inSizeHi]++ })},
		{"i_file_acl_high", "i_file_acl_high is not 0", old, set("/file", func(raw []byte) { raw[inFileACLHi]++ })},
		{"i_blocks_high", "i_blocks_high is not 0", old, set("/file", func(raw []byte) { raw[inBlocksHi]++ })},
		{"imagic", "belongs to AFS", modern, set("/file", func(raw []byte) { flags(raw, flIMagic) })},
		{"tree of a file", "is no directory", modern, set("/file", func(raw []byte) { flags(raw, flIndex) })},
		{"i_extra_isize", "i_extra_isize", modern, set("/fifo", func(raw []byte) { le.PutUint16(raw[inExtraIsize:], 2) })},
		{"large_file", "lacks the feature large_file", old, func(t *testing.T, m memory, fs *FS) {
			patch(m, func(sb []byte) { sb[sbFeatureROCompat] &^= roLargeFile })
			set("/file", func(raw []byte) { le.PutUint32(raw[inSizeLo:], 1<<31) })(t, m, fs)
		}},
		{"size of a fifo", "cannot have a size", modern, set("/fifo", func(raw []byte) { raw[inSizeLo]++ })},
		{"extents of a fifo", "cannot have contents", modern, set("/fifo", func(raw []byte) { flags(raw, flExtents) })},
		{"extents of a short link", "does not have the blocks", modern, set("/short", func(raw []byte) { flags(raw, flExtents) })},
		{"hole in a link", "does not have the blocks", modern, set("/long", func(raw []byte) { raw[inBlock+exEntrySize]++ })},
		{"size too small", "size is 2000, but there are 5 blocks", modern, set("/file", func(raw []byte) { le.PutUint32(raw[inSizeLo:], 2000) })},
		{"eh_max", "room for 4", modern, set("/file", func(raw []byte) { raw[inBlock+exOffMax] = 1 })},
		{"empty value far away", "runs past its area", inline, set("/dir/last", func(raw []byte) {
			le.PutUint16((&Inode{raw: raw}).bodyArea()[xaBodyHeader+xaOffValue:], 500)
		})},
		{"deleted at no time", "no time of deletion", old, deleted(func(raw []byte) { le.PutUint32(raw[inDtime:], 0) })},
		{"deleted too early", "list of orphans", old, deleted(func(raw []byte) { le.PutUint32(raw[inDtime:], 5) })},
		{"time of deletion of the journal", "inode 8 seems to be in a list of orphans", old, reserved(inoJournal, func(raw []byte) { raw[inDtime]++ })},
		{"bad blocks", "lists bad blocks", modern, reserved(inoBad, func(raw []byte) { raw[inUIDLo]++ })},
		{"undelete directory", "inode 6: i_blocks", old, reserved(6, func(raw []byte) { raw[inBlocksLo]++ })},
		{"blocks of the journal", "inode 8: i_blocks", old, reserved(inoJournal, func(raw []byte) { raw[inBlocksLo] += 2 })},
		{"resize inode", "resize inode", old, reserved(inoResize, func(raw []byte) { le.PutUint16(raw[inMode:], modeDir) })},
		{"reserved descriptors", "resize inode: entry", old, func(t *testing.T, m memory, fs *FS) {
			list := m[fs.sb.blockSize*uint64(le.Uint32(inode(t, fs, inoResize).iBlock()[4*(directBlocks+1):])):]
			list = list[4*fs.sb.descBlocks():]
			a, b := le.Uint32(list), le.Uint32(list[4:])
			le.PutUint32(list, b)
			le.PutUint32(list[4:], a)
		}},
		{"journal's UUID", "names an external journal", modern, super(func(sb []byte) { sb[sbJournalUUID]++ })},
		{"orphan file", "as orphan file", modern, super(func(sb []byte) { sb[sbOrphanFileInum] = 12 })},
		{"s_desc_size", "s_desc_size 33 is out of range", old, super(func(sb []byte) { sb[sbDescSize] = 33 })},
		{"groups per flex", "s_log_groups_per_flex", modern, super(func(sb []byte) { sb[sbLogGroupsPerFlex] = 32 })},
		{"users of the journal", "has 2 users", modern, journal(jbUsers, 2)},
		{"features of the journal", "unknown features", modern, journal(jbROCompat, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(c.image))
			fs, _ := mustCheck(t, m)
			c.edit(t, m, fs)
			refusedFor(t, m, c.want)
		})
	}
}

// TestSpentResizeInode accepts what the kernel leaves when it enlarged a file system
// beyond the reserved descriptors: an empty file, without the feature.
func TestSpentResizeInode(t *testing.T) {
	m := oddImage(t, "-t", "ext4", "-O", "meta_bg,^resize_inode")
	fs, _ := mustCheck(t, m)
	editInode(t, m, fs, inode(t, fs, inoResize), func(raw []byte) {
		le.PutUint16(raw[inMode:], modeRegular|0o600)
		le.PutUint16(raw[inLinks:], 1)
		le.PutUint32(raw[inSizeLo:], 67383296)
	})
	img := filepath.Join(t.TempDir(), "spent.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	fsck(t, img)
	mustCheck(t, m)
}
