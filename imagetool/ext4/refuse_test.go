package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memory is a file system in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("write outside the device")
	}
	return copy(m[off:], p), nil
}

func (m memory) Sync() error { return nil }

func (m memory) Forget() error { return nil }

// checkAll opens and checks a file system.
func checkAll(m memory) (*FS, *Listing, error) {
	fs, err := Open(m, int64(len(m)))
	if err != nil {
		return nil, nil, err
	}
	l, err := fs.Check(context.Background())
	return fs, l, err
}

func mustCheck(t testing.TB, m memory) (*FS, *Listing) {
	t.Helper()
	fs, l, err := checkAll(m)
	if err != nil {
		t.Fatal(err)
	}
	return fs, l
}

// patch edits the superblock and repairs its checksum.
func patch(m memory, edit func(sb []byte)) {
	raw := m[superOffset:][:superSize]
	edit(raw)
	if le.Uint32(raw[sbFeatureROCompat:])&roMetadataCsum != 0 {
		le.PutUint32(raw[sbChecksum:], crc32c(^uint32(0), raw[:sbChecksum]))
	}
}

// richImage has every structure that carries a checksum: extent blocks, a hash
// tree of two levels, an attribute block, a journal and an orphan file.
func richImage(t testing.TB) memory {
	t.Helper()
	m := richImageWith(t, "orphan_file")
	// The kernel gives the journal checksums at the first mount.
	fs, _ := mustCheck(t, m)
	js := m[journalBlock(t, fs)*fs.sb.blockSize:][:jbSize]
	binary.BigEndian.PutUint32(js[jbIncompat:], 0x10)
	js[jbChecksumType] = journalCRC32CType
	sealJournal(js)
	return m
}

// bareImage is the same without checksums, so that lies are easily told.
func bareImage(t testing.TB) memory {
	t.Helper()
	return richImageWith(t, "orphan_file,^metadata_csum,^uninit_bg")
}

func richImageWith(t testing.TB, features string) memory {
	t.Helper()
	dir := t.TempDir()
	frag, err := os.Create(filepath.Join(dir, "fragmented"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(200) {
		if _, err := frag.WriteAt([]byte("x"), i*2048); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(frag.Close(), os.Mkdir(filepath.Join(dir, "big"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		name := strings.Repeat(string(rune('a'+i%26)), 230) + "-" + string(rune('a'+i/26))
		if err := os.WriteFile(filepath.Join(dir, "big", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, pattern(300, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, dir, "8M", "-t", "ext4", "-b", "1024", "-O", features, "-J", "size=1", "-N", "2048")
	debugfs(t, img, "ea_set -f "+value+" /fragmented user.large")
	if out, err := exec.Command(need(t, "e2fsck"), "-fyD", img).CombinedOutput(); !bytes.Contains(out, []byte("MODIFIED")) {
		t.Fatalf("e2fsck -fyD: %v\n%s", err, out)
	}
	fsck(t, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealJournal(js []byte) {
	binary.BigEndian.PutUint32(js[jbChecksum:], 0)
	binary.BigEndian.PutUint32(js[jbChecksum:], crc32c(^uint32(0), js))
}

func inode(t testing.TB, fs *FS, number uint32) *Inode {
	t.Helper()
	in, err := fs.Inode(number)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func lookup(t testing.TB, fs *FS, path string) *Inode {
	t.Helper()
	in, err := fs.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// blockOf is where block i of an inode's data lies.
func blockOf(t testing.TB, fs *FS, in *Inode, i uint64) uint64 {
	t.Helper()
	var at uint64
	if err := fs.mapBlocks(in, mapper{run: func(r run) error {
		if i >= r.logical && i < r.logical+r.count {
			at = r.physical + i - r.logical
		}
		return nil
	}}); err != nil || at == 0 {
		t.Fatalf("block %d of inode %d: %v", i, in.Number, err)
	}
	return at
}

func journalBlock(t testing.TB, fs *FS) uint64 {
	return blockOf(t, fs, inode(t, fs, inoJournal), 0)
}

// dirBlock finds a block of the large directory by its role in the hash tree.
func dirBlock(t testing.TB, fs *FS, role byte) uint64 {
	t.Helper()
	in := lookup(t, fs, "/big")
	c, err := fs.Contents(in)
	if err != nil {
		t.Fatal(err)
	}
	index, err := (&dirReader{fs: fs, in: in}).readIndex(c, uint64(in.Size)/fs.sb.blockSize)
	if err != nil || index == nil {
		t.Fatalf("hash tree: %v", err)
	}
	return blockOf(t, fs, in, uint64(1+slices.IndexFunc(index.blocks[1:], func(b dxBlock) bool { return b.role == role })))
}

// editInode edits an inode and repairs its checksum.
func editInode(t testing.TB, m memory, fs *FS, in *Inode, edit func(raw []byte)) {
	t.Helper()
	block, off, err := fs.inodeLocation(in.Number)
	if err != nil {
		t.Fatal(err)
	}
	changed := *in
	changed.raw = m[block*fs.sb.blockSize+off:][:fs.sb.inodeSize]
	edit(changed.raw)
	if !fs.sb.metadataCsum() {
		return
	}
	sum := changed.checksum()
	le.PutUint16(changed.raw[inChecksumLo:], uint16(sum))
	if changed.hasChecksumHi() {
		le.PutUint16(changed.raw[inChecksumHi:], uint16(sum>>16))
	}
}

// TestFlippedBit flips one bit in each kind of structure that has a checksum.
// e2fsck confirms that it did damage; we must refuse and name the structure.
func TestFlippedBit(t *testing.T) {
	rich := richImage(t)
	fs, _ := mustCheck(t, rich)
	bs := fs.sb.blockSize
	frag := lookup(t, fs, "/fragmented")
	var extents uint64
	if err := fs.mapBlocks(frag, mapper{node: func(b uint64) error { extents = b; return nil }, run: func(run) error { return nil }}); err != nil || extents == 0 {
		t.Fatalf("no extent block: %v", err)
	}
	table, off, err := fs.inodeLocation(frag.Number)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		at   uint64
		want string
	}{
		{"superblock", superOffset + sbVolumeName, "superblock checksum"},
		{"group descriptor", fs.sb.descBlock(0)*bs + gdUsedDirsLo, "group descriptor 0: checksum"},
		{"block bitmap", fs.groups[0].blockBitmap*bs + bs/2, "block bitmap of group 0: checksum"},
		{"inode bitmap", fs.groups[0].inodeBitmap*bs + 2, "inode bitmap of group 0: checksum"},
		{"inode", table*bs + off + inMtime, "checksum"},
		{"extent block", extents*bs + 40, "extent block"},
		{"directory leaf", dirBlock(t, fs, roleLeaf)*bs + 10, "checksum"},
		{"hash tree root", blockOf(t, fs, lookup(t, fs, "/big"), 0)*bs + dxRootEntries + dxEntrySize + 1, "hash tree: node checksum"},
		{"hash tree node", dirBlock(t, fs, roleNode)*bs + dxNodeEntries + dxEntrySize + 1, "hash tree: node checksum"},
		{"attribute block", frag.acl*bs + bs - 5, "extended attribute block"},
		{"journal superblock", journalBlock(t, fs)*bs + 48, "journal superblock checksum"},
		{"orphan file", blockOf(t, fs, inode(t, fs, fs.orphanFile()), 0)*bs + bs - 2, "orphan file block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(rich))
			m[c.at] ^= 0x10
			refusedFor(t, m, c.want)
		})
	}
}

// A lie is something in an image that contradicts the rest of it.
type lie struct {
	name, want string
	edit       func(m memory)
}

// refuseLies tells each of them in a copy of the image.
func refuseLies(t *testing.T, image memory, lies []lie) {
	t.Helper()
	for _, c := range lies {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(image))
			c.edit(m)
			refusedFor(t, m, c.want)
		})
	}
}

// TestRefused covers the states and features that forbid going on.
func TestRefused(t *testing.T) {
	rich := richImage(t)
	fs, _ := mustCheck(t, rich)
	bs := fs.sb.blockSize
	set16 := func(off int, v uint16) func(m memory) {
		return func(m memory) { patch(m, func(sb []byte) { le.PutUint16(sb[off:], v) }) }
	}
	or := func(off int, v uint32) func(m memory) {
		return func(m memory) { patch(m, func(sb []byte) { le.PutUint32(sb[off:], le.Uint32(sb[off:])|v) }) }
	}
	journal := func(off int, v uint32) func(m memory) {
		return func(m memory) {
			js := m[journalBlock(t, fs)*bs:][:jbSize]
			binary.BigEndian.PutUint32(js[off:], v)
			sealJournal(js)
		}
	}
	for _, c := range []struct {
		name, want string
		edit       func(m memory)
	}{
		{"needs_recovery", "journal needs recovery", or(sbFeatureIncompat, incompatRecover)},
		{"journal device", "external journal, not a file system", or(sbFeatureIncompat, incompatJournalDev)},
		{"journal not empty", "journal is not empty", journal(jbStart, 1)},
		{"journal error", "journal records error -5", journal(jbErrno, ^uint32(4))},
		{"journal begins nowhere", "journal begins at its block 0", journal(jbFirst, 0)},
		{"journal without magic", "journal superblock has no magic", journal(jbMagic, 7)},
		{"external journal", "external journal", or(sbJournalDev, 0x0801)},
		{"not unmounted", "not unmounted cleanly", set16(sbState, 0)},
		{"errors", "marked as having errors", set16(sbState, stateValid|stateError)},
		{"orphans", "orphan inode 12", or(sbLastOrphan, 12)},
		{"orphan_present", "orphan file lists inodes", or(sbFeatureROCompat, roOrphanPresent)},
		{"checksum type", "unknown s_checksum_type 2", func(m memory) { m[superOffset+sbChecksumType] = 2 }},
		{"unknown incompat", "unknown incompat features 0x80000000", or(sbFeatureIncompat, 0x80000000)},
		{"dirdata", "feature dirdata", or(sbFeatureIncompat, 0x1000)},
		{"size", "but only 8388608 bytes are there", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbBlocksCountLo:], 8193) })
		}},
		{"clusters", "clusters are not blocks", func(m memory) { patch(m, func(sb []byte) { sb[sbLogClusterSize]++ }) }},
		{"reserved blocks", "s_r_blocks_count", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbReservedBlocksLo:], 5000) })
		}},
		{"no orphan file", "names no such file", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbOrphanFileInum:], 0) })
		}},
		{"journal without the feature", "feature has_journal is missing", func(m memory) {
			patch(m, func(sb []byte) {
				sb[sbFeatureCompat] &^= compatHasJournal
				sb[sbFeatureCompat+1] &^= compatOrphanFile >> 8
			})
		}},
		{"free blocks", "superblock counts", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbFreeBlocksLo:], le.Uint32(sb[sbFreeBlocksLo:])+1) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(rich))
			c.edit(m)
			refusedFor(t, m, c.want)
		})
	}
}

// sealGroup edits the first group's bitmap and descriptor and repairs their checksums.
func sealGroup(m memory, fs *FS, edit func(bitmap, desc []byte)) {
	d := m[fs.sb.descBlock(0)*fs.sb.blockSize:][:fs.sb.descSize]
	bitmap := m[fs.groups[0].blockBitmap*fs.sb.blockSize:][:fs.sb.blockSize]
	edit(bitmap, d)
	sum := fs.sb.bitmapChecksum(bitmap, fs.sb.clustersPerGroup)
	le.PutUint16(d[gdBlockBitmapSumLo:], uint16(sum))
	le.PutUint16(d[gdBlockBitmapSumHi:], uint16(sum>>16))
	le.PutUint16(d[gdChecksum:], fs.sb.descChecksum(0, d))
}

// TestLyingCounts breaks the books while every checksum is right.
func TestLyingCounts(t *testing.T) {
	rich := richImage(t)
	fs, _ := mustCheck(t, rich)
	bs := fs.sb.blockSize
	frag := lookup(t, fs, "/fragmented")
	sealInode := func(m memory, edit func(raw []byte)) { editInode(t, m, fs, frag, edit) }
	for _, c := range []struct {
		name, want string
		edit       func(m memory)
	}{
		{"used block marked free", "is free, but it is in use", func(m memory) {
			sealGroup(m, fs, func(bitmap, d []byte) {
				bit := frag.acl - fs.sb.firstData
				bitmap[bit/8] &^= 1 << (bit % 8)
				le.PutUint16(d[gdFreeBlocksLo:], le.Uint16(d[gdFreeBlocksLo:])+1)
			})
			patch(m, func(sb []byte) { le.PutUint32(sb[sbFreeBlocksLo:], le.Uint32(sb[sbFreeBlocksLo:])+1) })
		}},
		{"free blocks of a group", "descriptor counts", func(m memory) {
			sealGroup(m, fs, func(_, d []byte) { le.PutUint16(d[gdFreeBlocksLo:], le.Uint16(d[gdFreeBlocksLo:])-1) })
		}},
		{"h_refcount", "h_refcount is 2, but 1 inodes refer to it", func(m memory) { fs.setRefs(frag.acl, m[frag.acl*bs:][:bs], 2) }},
		{"two owners", "has two owners", func(m memory) {
			data := blockOf(t, fs, frag, 0)
			sealInode(m, func(raw []byte) { le.PutUint32(raw[inFileACLLo:], uint32(data)) })
			copy(m[data*bs:][:bs], m[frag.acl*bs:][:bs])
			fs.setRefs(data, m[data*bs:][:bs], 1)
		}},
		{"i_blocks", "i_blocks is", func(m memory) {
			sealInode(m, func(raw []byte) { le.PutUint32(raw[inBlocksLo:], le.Uint32(raw[inBlocksLo:])+2) })
		}},
		{"links", "link count is 2, but it has 1 names", func(m memory) {
			sealInode(m, func(raw []byte) { le.PutUint16(raw[inLinks:], 2) })
		}},
		{"EA inode", "ea_inode", func(m memory) {
			raw := m[frag.acl*bs:][:bs]
			le.PutUint32(raw[xaBlockHeader+xaOffValueInode:], 12)
			fs.setRefs(frag.acl, raw, 1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(rich))
			c.edit(m)
			refusedFor(t, m, c.want)
		})
	}
}
