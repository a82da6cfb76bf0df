package ext4

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests in this file are about rules of the kernel that are easy to miss,
// each with a file system on which missing it would give another answer.

func fsckMemory(t testing.TB, m memory) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	fsck(t, img)
}

// TestUnsortedAttributes: the kernel does not see what stands out of order.
func TestUnsortedAttributes(t *testing.T) {
	m := smallImage(t, "-I", "128")
	fs, _ := mustCheck(t, m)
	in := lookup(t, fs, "/block")
	raw, entries, err := fs.xattrBlock(in.acl)
	if err != nil || len(entries) != 2 {
		t.Fatal(err, entries)
	}
	entries[0], entries[1] = entries[1], entries[0]
	putEntries(raw, xaBlockHeader, entries)
	fs.setRefs(in.acl, raw, 1)
	copy(m[in.acl*fs.sb.blockSize:], raw)
	refusedFor(t, m, "out of order")
}

// TestExtentKey: a node begins where its parent says, not behind it.
func TestExtentKey(t *testing.T) {
	m := richImage(t)
	fs, _ := mustCheck(t, m)
	in := lookup(t, fs, "/fragmented")
	if err := fs.mapBlocks(in, mapper{run: func(run) error { return nil }, node: func(b uint64) error {
		node := m[b*fs.sb.blockSize:][:fs.sb.blockSize]
		if le.Uint32(node[exEntrySize:]) != 0 || le.Uint32(node[2*exEntrySize:]) < 2 {
			t.Fatal("not the extents that were expected")
		}
		le.PutUint32(node[exEntrySize:], 1)
		at := exEntrySize * (1 + int(le.Uint16(node[exOffMax:])))
		le.PutUint32(node[at:], crc32c(in.seed, node[:at]))
		return nil
	}}); err == nil {
		t.Error("the walk did not notice")
	}
	refusedFor(t, m, "begins at file block 1, expected 0")
}

// TestRecLen: only a block of 64 KiB has lengths with another meaning.
func TestRecLen(t *testing.T) {
	for _, c := range []struct{ blockSize, on, want int }{
		{4096, 0, 0}, {4096, 65535, 65535}, {4096, 4096, 4096}, {32768, 0, 0},
		{65536, 0, 65536}, {65536, 65535, 65536}, {65536, 65532, 65532}, {65536, 12, 12},
	} {
		fs := &FS{sb: &superblock{blockSize: uint64(c.blockSize)}}
		if got := fs.recLen(uint16(c.on)); got != c.want {
			t.Errorf("%d in a block of %d bytes is %d, expected %d", c.on, c.blockSize, got, c.want)
		}
	}
}

// TestSizeLimit: how large a file may be depends on the kind of its map.
func TestSizeLimit(t *testing.T) {
	for kind, limit := range map[string]uint64{"ext2": (12 + 256 + 256*256 + 256*256*256) * 1024, "ext4": (1<<32 - 1) * 1024} {
		m := smallImage(t, "-t", kind)
		fs, _ := mustCheck(t, m)
		in := lookup(t, fs, "/plain")
		set := func(size uint64) {
			editInode(t, m, fs, in, func(raw []byte) {
				le.PutUint32(raw[inSizeLo:], uint32(size))
				le.PutUint32(raw[inSizeHi:], uint32(size>>32))
			})
		}
		set(min(limit, 1<<40)) // ext2 made without huge_file stops earlier still
		if kind == "ext4" {
			mustCheck(t, m)
		}
		set(limit + 1024)
		refusedFor(t, m, "is impossible")
	}
}

// TestManySubdirectories: once there were too many to count, a link count of 1
// stays, but only a directory with a hash tree can have had that many.
func TestManySubdirectories(t *testing.T) {
	m := richImage(t)
	fs, _ := mustCheck(t, m)
	editInode(t, m, fs, lookup(t, fs, "/big"), func(raw []byte) { le.PutUint16(raw[inLinks:], 1) })
	fsckMemory(t, m)
	mustCheck(t, m)
	editInode(t, m, fs, lookup(t, fs, "/lost+found"), func(raw []byte) { le.PutUint16(raw[inLinks:], 1) })
	refusedFor(t, m, "link count is 1")
}

// TestInlineHole: zeros follow what lies in the inode.
func TestInlineHole(t *testing.T) {
	dir := t.TempDir()
	data := map[string][]byte{"short": pattern(3, 1), "long": pattern(100, 2)}
	for name, b := range data {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "2M", "-t", "ext4", "-O", "inline_data,^has_journal")
	debugfs(t, img, "set_inode_field /short size 300000")
	debugfs(t, img, "set_inode_field /long size 161")
	fsck(t, img)
	_, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"short": 300000, "long": 161} {
		c, err := fs.Contents(lookup(t, fs, "/"+name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if want := append(bytes.Clone(data[name]), make([]byte, size-len(data[name]))...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, expected %d: %v", name, len(got), len(want), err)
		}
	}
}

// TestBadBlocks: they belong to inode 1, which has no file type.
func TestBadBlocks(t *testing.T) {
	list := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(list, []byte("1500\n1501\n1777\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, "", "2M", "-t", "ext4", "-b", "1024", "-l", list)
	fsck(t, img)
	_, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestPadding: e2fsck wants the end of an inode bitmap set.
func TestPadding(t *testing.T) {
	m := fuzzLike(t, "^metadata_csum,^uninit_bg")
	fs, _ := mustCheck(t, m)
	m[(fs.groups[0].inodeBitmap+1)*fs.sb.blockSize-1] &^= 0x80
	_, l := mustCheck(t, m) // which is enough to read it
	_, err := stage(t, l, EditOptions{}, 265).Prepare()
	judged(t, m, err, "padding")
}

// TestUninitWithoutChecksums: without them the kernel ignores the flags.
func TestUninitWithoutChecksums(t *testing.T) {
	m := fuzzLike(t, "^metadata_csum,^uninit_bg")
	fs, _ := mustCheck(t, m)
	m[fs.sb.descBlock(0)*fs.sb.blockSize+gdFlags] |= bgBlockUninit
	refusedFor(t, m, "takes checksums")
}

func fuzzLike(t *testing.T, features string) memory {
	t.Helper()
	b, err := os.ReadFile(makeImage(t, "", "2M", "-t", "ext4", "-O", features+",^has_journal,^resize_inode"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestImpossibleTime is refused before anything is written: inodes of 128 bytes
// have no room for times after 2038.
func TestImpossibleTime(t *testing.T) {
	m := smallImage(t, "-I", "128")
	before := bytes.Clone(m)
	_, l := mustCheck(t, m)
	late := time.Unix(1<<32+5, 0)
	err := stage(t, l, EditOptions{DropEVM: true, Time: &late}, 265).Commit(context.Background(), m)
	if err == nil || !strings.Contains(err.Error(), "ctime") {
		t.Errorf("error is %v", err)
	}
	if !bytes.Equal(before, m) {
		t.Error("the file system changed")
	}
}

// TestMapLoop: a map that refers to its own blocks ends soon.
func TestMapLoop(t *testing.T) {
	m := smallImage(t, "-t", "ext2")
	fs, _ := mustCheck(t, m)
	in := lookup(t, fs, "/block")
	node := blockOf(t, fs, in, 0)
	for i := range fs.sb.blockSize / 4 {
		le.PutUint32(m[node*fs.sb.blockSize+4*i:], uint32(node))
	}
	editInode(t, m, fs, in, func(raw []byte) {
		for i := directBlocks; i < inBlockCount; i++ {
			le.PutUint32(raw[inBlock+4*i:], uint32(node))
		}
		le.PutUint32(raw[inSizeHi:], 2)
	})
	fs, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Contents(lookup(t, fs, "/block")); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("error is %v", err)
	}
}

// TestPathBytes: paths take memory that directory entries do not.
func TestPathBytes(t *testing.T) {
	fs, l := mustCheck(t, smallImage(t))
	again := &Listing{fs: fs, inode: map[uint32]*facts{}, pathLimit: l.pathBytes - 1}
	for number, f := range l.inode {
		c := *f
		c.names = 0
		again.inode[number] = &c
	}
	again.Files = make([]File, len(l.Files))
	if err := again.walkNames(context.Background()); err == nil || !strings.Contains(err.Error(), "paths of all files") {
		t.Errorf("error is %v", err)
	}
}
