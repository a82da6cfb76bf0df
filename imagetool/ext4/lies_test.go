package ext4

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// fileOf is an image as it lies in a file.
func fileOf(t testing.TB, path string) memory {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A liar tells lies in an image.
type liar struct {
	t  *testing.T
	fs *FS
}

func newLiar(t *testing.T, m memory) *liar {
	t.Helper()
	fs, _ := mustCheck(t, m)
	return &liar{t, fs}
}

// inode edits a file's inode.
func (l *liar) inode(path string, edit func(raw []byte)) func(m memory) {
	return func(m memory) { editInode(l.t, m, l.fs, lookup(l.t, l.fs, path), edit) }
}

// number edits an inode that has no name.
func (l *liar) number(number uint32, edit func(raw []byte)) func(m memory) {
	return func(m memory) { editInode(l.t, m, l.fs, inode(l.t, l.fs, number), edit) }
}

// block edits a block of a file's contents.
func (l *liar) block(path string, i uint64, edit func(b []byte)) func(m memory) {
	return func(m memory) { edit(l.at(m, blockOf(l.t, l.fs, lookup(l.t, l.fs, path), i))) }
}

// at is a block of the image.
func (l *liar) at(m memory, block uint64) []byte {
	return m[block*l.fs.sb.blockSize:][:l.fs.sb.blockSize]
}

// desc edits the descriptor of the first group, and the block bitmap with it.
func (l *liar) desc(edit func(bitmap, desc []byte)) func(m memory) {
	return func(m memory) { sealGroup(m, l.fs, edit) }
}

// super edits the superblock.
func (l *liar) super(edit func(sb []byte)) func(m memory) {
	return func(m memory) { patch(m, edit) }
}

func put16(off int, v uint16) func(raw []byte) {
	return func(raw []byte) { le.PutUint16(raw[off:], v) }
}
func put32(off int, v uint32) func(raw []byte) {
	return func(raw []byte) { le.PutUint32(raw[off:], v) }
}
func set32(off int, bits uint32) func(raw []byte) {
	return func(raw []byte) { le.PutUint32(raw[off:], le.Uint32(raw[off:])|bits) }
}
func clear32(off int, bits uint32) func(raw []byte) {
	return func(raw []byte) { le.PutUint32(raw[off:], le.Uint32(raw[off:])&^bits) }
}
func add16(off int, n int) func(raw []byte) {
	return func(raw []byte) { le.PutUint16(raw[off:], uint16(int(le.Uint16(raw[off:]))+n)) }
}
func add32(off int, n int) func(raw []byte) {
	return func(raw []byte) { le.PutUint32(raw[off:], uint32(int(le.Uint32(raw[off:]))+n)) }
}

// both makes one edit of two.
func both[T any](a, b func(T)) func(T) { return func(v T) { a(v); b(v) } }

// direntry finds an entry of a directory by its name.
func direntry(t testing.TB, b []byte, name string) []byte {
	t.Helper()
	at := bytes.Index(b, []byte(name))
	if at < deHeader {
		t.Fatalf("no entry %q", name)
	}
	return b[at-deHeader:]
}

// TestSuperblockLies are sizes that e2fsck and the kernel do not accept either.
func TestSuperblockLies(t *testing.T) {
	m := bareImage(t)
	l := newLiar(t, m)
	refuseLies(t, m, []lie{
		{"block size", "s_log_block_size 7", l.super(put32(sbLogBlockSize, 7))},
		{"no groups", "no block groups", l.super(both(put32(sbBlocksCountLo, 1), put32(sbReservedBlocksLo, 0)))},
		{"first block", "s_first_data_block is 2", l.super(put32(sbFirstDataBlock, 2))},
		{"inode size", "s_inode_size 300", l.super(put16(sbInodeSize, 300))},
		{"inodes larger than blocks", "s_inode_size 2048", l.super(put16(sbInodeSize, 2048))},
		{"small inodes", "s_inode_size 64", l.super(put16(sbInodeSize, 64))},
		{"no inodes per group", "s_inodes_per_group 0", l.super(put32(sbInodesPerGroup, 0))},
		{"many inodes per group", "s_inodes_per_group 80000", l.super(both(put32(sbInodesPerGroup, 80000), put32(sbInodesCount, 80000)))},
		{"inodes", "s_inodes_count is", l.super(add32(sbInodesCount, 1))},
		{"first inode", "s_first_ino 5", l.super(put32(sbFirstIno, 5))},
		{"first inode that is none", "s_first_ino 99999", l.super(put32(sbFirstIno, 99999))},
		{"reserved descriptors", "s_reserved_gdt_blocks 5000", l.super(put16(sbReservedGDT, 5000))},
		{"reserved for nothing", "resize_inode is missing", l.super(clear32(sbFeatureCompat, compatResizeInode))},
		{"meta groups", "s_first_meta_bg 77", l.super(both(set32(sbFeatureIncompat, incompatMetaBG), put32(sbFirstMetaBG, 77)))},
		{"free blocks", "more free blocks", l.super(put32(sbFreeBlocksLo, 9999))},
		{"free inodes", "more free blocks or inodes", l.super(put32(sbFreeInodes, 9999))},
		{"revision", "revision level 2", l.super(put32(sbRevLevel, 2))},
		{"orphan file of no feature", "the feature orphan_file is missing", l.super(clear32(sbFeatureCompat, compatOrphanFile))},
		{"bitmap outside", "block 99999 is outside", l.desc(func(_, d []byte) { le.PutUint32(d[gdInodeBitmapLo:], 99999) })},
		{"dirdata", "feature dirdata", l.super(set32(sbFeatureIncompat, 0x1000))},
	})
}

// TestForeignBitmap: without flex_bg, each group has its own.
func TestForeignBitmap(t *testing.T) {
	m := fileOf(t, makeImage(t, "", "12M", "-t", "ext3", "-b", "1024", "-J", "size=1", "-O", "^resize_inode"))
	l := newLiar(t, m)
	refuseLies(t, m, []lie{{"bitmap", "lies in another group", func(m memory) {
		le.PutUint32(l.at(m, l.fs.sb.descBlock(0))[gdInodeBitmapLo:], uint32(l.fs.groups[1].inodeBitmap))
	}}})
}

// TestInodeLies are inodes that cannot be.
func TestInodeLies(t *testing.T) {
	m := bareImage(t)
	l := newLiar(t, m)
	file := "/fragmented"
	flag := func(bits uint32) func(m memory) { return l.inode(file, set32(inFlags, bits)) }
	refuseLies(t, m, []lie{
		{"encrypted", "is encrypted", func(m memory) { patch(m, set32(sbFeatureIncompat, 0x10000)); flag(flEncrypt)(m) }},
		{"case-folded", "is case-folded", func(m memory) {
			patch(m, set32(sbFeatureIncompat, 0x20000))
			l.inode("/big", set32(inFlags, flCasefold))(m)
		}},
		{"value without the feature", "lacks the feature", flag(flEAInode)},
		{"inline without the feature", "has inline data, but the file system lacks the feature", flag(flInlineData)},
		{"extents without the feature", "has extents, but the file system lacks the feature", l.super(clear32(sbFeatureIncompat, incompatExtents))},
		{"attributes outside", "extended attribute block 99999 is outside", l.inode(file, put32(inFileACLLo, 99999))},
		{"type", "no file type that is known", l.inode("/big/"+strings.Repeat("a", 230)+"-a", put16(inMode, 0o644))},
		{"no links", "has 0 links, but its bit in the bitmap is true", l.inode(file, put16(inLinks, 0))},
		{"deleted", "has a time of deletion", l.inode(file, put32(inDtime, 1<<30))},
		{"undelete directory", "in use for something unknown", l.number(6, put16(inMode, modeRegular))},
		{"quota file without quotas", "does not name it", l.number(inoUserQuota, put16(inLinks, 1))},
		{"resize inode without the feature", "the feature resize_inode is missing", func(m memory) {
			patch(m, both(clear32(sbFeatureCompat, compatResizeInode), put16(sbReservedGDT, 0)))
			l.number(inoResize, both(put32(inBlocksLo, 0), put16(inMode, 0)))(m)
		}},
		{"block of the resize inode", "blocks where there should be none", l.number(inoResize, put32(inBlock, 4000))},
		{"block beyond the end", "resize inode lists block 99999", func(m memory) {
			put32(1000, 99999)(l.at(m, inode(t, l.fs, inoResize).doubleIndirect()))
		}},
		{"resize inode without links", "is not one that is known", l.number(inoResize, put16(inLinks, 0))},
		{"directories of a group", "descriptor counts", l.desc(func(_, d []byte) { d[gdUsedDirsLo]++ })},
		{"free inodes of a group", "free inodes, the bitmap", l.desc(func(_, d []byte) { add16(gdFreeInodesLo, 1)(d) })},
		{"free inodes", "superblock counts", l.super(add32(sbFreeInodes, 1))},
		{"reserved inode", "reserved inode 6 is marked free", func(m memory) {
			l.at(m, l.fs.groups[0].inodeBitmap)[0] &^= 1 << 5
			l.desc(func(_, d []byte) { add16(gdFreeInodesLo, 1)(d) })(m)
			patch(m, add32(sbFreeInodes, 1))
		}},
	})
	m = richImage(t)
	l = newLiar(t, m)
	refuseLies(t, m, []lie{
		{"never used", "marked as never used", l.desc(func(_, d []byte) { le.PutUint16(d[gdItableUnusedLo:], uint16(l.fs.sb.inodesPerGroup)) })},
		{"never written", "marked as never written, but", func(m memory) { l.desc(func(_, d []byte) { d[gdFlags] |= bgBlockUninit })(m) }},
	})
}

// TestMapLies are extents that lead nowhere.
func TestMapLies(t *testing.T) {
	m := bareImage(t)
	l := newLiar(t, m)
	const file = "/fragmented"
	in := lookup(t, l.fs, file)
	first := uint64(le.Uint32(in.iBlock()[exEntrySize+exOffLeafLo:]))
	root := func(edit func(b []byte)) func(memory) {
		return l.inode(file, func(raw []byte) { edit(raw[inBlock:]) })
	}
	node := func(edit func(b []byte)) func(memory) { return func(m memory) { edit(l.at(m, first)) } }
	extent := func(b []byte, i int, logical uint32, n uint16, physical uint32) {
		e := b[exEntrySize*(i+1):][:exEntrySize]
		clear(e)
		put32(0, logical)(e)
		put16(exOffLen, n)(e)
		put32(exOffStartLo, physical)(e)
	}
	refuseLies(t, m, []lie{
		{"magic", "no magic number", node(put16(0, 7))},
		{"depth", "has depth 6", root(put16(exOffDepth, 6))},
		{"depth of a node", "has depth 1, expected 0", node(put16(exOffDepth, 1))},
		{"large depth of a node", "has depth 61729, expected 0", node(put16(exOffDepth, 0xf121))},
		{"empty", "extent node is empty", node(put16(exOffEntries, 0))},
		{"order", "out of order", node(func(b []byte) { copy(b[2*exEntrySize:][:4], b[3*exEntrySize:]) })},
		{"order of nodes", "extent index at file block", root(put32(2*exEntrySize, 0))},
		{"outside", "block map refers to blocks", node(put32(exEntrySize+exOffStartLo, 1<<30))},
		{"node twice", "twice", root(func(b []byte) { copy(b[2*exEntrySize+exOffLeafLo:][:4], b[exEntrySize+exOffLeafLo:]) })},
		{"more than there is", "more blocks than the file system", root(func(b []byte) {
			put16(exOffEntries, 2)(b)
			put16(exOffDepth, 0)(b)
			extent(b, 0, 0, 5000, 100)
			extent(b, 1, 5000, 5000, 100)
		})},
	})
	m = richImage(t)
	l = newLiar(t, m)
	first = uint64(le.Uint32(lookup(t, l.fs, file).iBlock()[exEntrySize+exOffLeafLo:]))
	refuseLies(t, m, []lie{{"checksum", "no room for its checksum", node(put16(exOffMax, 85))}})
}

// TestLinkLies are targets of symbolic links that are none.
func TestLinkLies(t *testing.T) {
	m := oddImage(t, "-t", "ext4", "-O", "^metadata_csum,^uninit_bg")
	l := newLiar(t, m)
	refuseLies(t, m, []lie{
		{"empty", "symbolic link of 0 bytes", l.inode("/short", put32(inSizeLo, 0))},
		{"cut short", "has a target of 2", l.inode("/short", func(raw []byte) { raw[inBlock+2] = 0 })},
	})
	t.Run("without blocks", func(t *testing.T) {
		m := memory(bytes.Clone(m))
		l.inode("/short", put32(inSizeLo, 70))(m)
		fs, err := Open(m, int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fs.Contents(lookup(t, fs, "/short"))
		judged(t, m, err, "has no blocks")
	})
	t.Run("large value", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("target", dir+"/link"); err != nil {
			t.Fatal(err)
		}
		img := makeImage(t, dir, "2M", smallArgs([]string{"-O", "ea_inode,^has_journal,^resize_inode"})...)
		value := dir + "/value"
		if err := os.WriteFile(value, pattern(1000, 1), 0o644); err != nil {
			t.Fatal(err)
		}
		debugfs(t, img, "ea_set -f "+value+" /link trusted.huge")
		m := fileOf(t, img)
		fs, err := Open(m, int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		editInode(t, m, fs, lookup(t, fs, "/link"), put32(inBlocksLo, 1024/512)) // as the kernel counts
		refusedFor(t, m, "symbolic link has an extended attribute")
	})
}

// TestInlineLies are contents inside of inodes.
func TestInlineLies(t *testing.T) {
	m := oddImage(t, "-t", "ext4", "-O", "inline_data,^metadata_csum,^uninit_bg")
	l := newLiar(t, m)
	noData := func(raw []byte) {
		at := bytes.Index(raw, []byte("data"))
		if at < 0 {
			t.Fatal("no system.data")
		}
		raw[at]++
	}
	refuseLies(t, m, []lie{
		{"extents too", "both inline data and extents", l.inode("/dir", set32(inFlags, flExtents))},
		{"size of a link", "bytes lie in the inode", l.inode("/long", put32(inSizeLo, 200))},
		{"size of a directory", "bytes lie in the inode", l.inode("/dir", put32(inSizeLo, 200))},
		{"no rest", "has inline data, but no system.data", l.inode("/dir", noData)},
	})
}

// TestJournalLies are journals that the kernel does not load.
func TestJournalLies(t *testing.T) {
	m := richImage(t)
	l := newLiar(t, m)
	journal := func(edit func(js []byte)) func(m memory) {
		return func(m memory) {
			js := m[journalBlock(t, l.fs)*l.fs.sb.blockSize:][:jbSize]
			edit(js)
			sealJournal(js)
		}
	}
	be := func(off int, v byte) func(js []byte) {
		return func(js []byte) { clear(js[off:][:4]); js[off+3] = v }
	}
	refuseLies(t, m, []lie{
		{"type", "block type 9", journal(be(jbBlockType, 9))},
		{"checksum type", "unknown checksum type 9", journal(func(js []byte) { js[jbChecksumType] = 9 })},
		{"block size", "journal has blocks of", journal(be(jbBlockSize, 64))},
		{"length", "journal has 77 blocks", journal(be(jbMaxLen, 77))},
		{"too long", "journal has 1090519040 blocks", journal(func(js []byte) { js[jbMaxLen], js[jbMaxLen+2], js[jbMaxLen+3] = 0x41, 0, 0 })},
		{"checksums of two kinds", "two kinds of checksums", journal(be(jbIncompat, 0x18))},
		{"not a file", "journal inode is not a regular file", l.number(inoJournal, put16(inMode, modeDir|0o600))},
		{"orphan file of no magic", "has no magic number", func(m memory) {
			b := l.at(m, blockOf(t, l.fs, inode(t, l.fs, l.fs.orphanFile()), 0))
			b[len(b)-orphanTailSize]++
		}},
		{"orphan file of odd size", "odd size", l.number(l.fs.orphanFile(), add32(inSizeLo, -1))},
		{"orphan file that is none", "is not a regular file in use", l.super(put32(sbOrphanFileInum, lookup(t, l.fs, "/big").Number))},
	})
}
