package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"testing"
)

// fuzzImages are small file systems without metadata checksums, so that what a
// mutation changes is looked at instead of refused at once.
func fuzzImages(f *testing.F) []memory {
	dir := f.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(dir+"/"+name, pattern(3000, int64(name[0])), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/d", 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("d/../a", dir+"/l"); err != nil {
		f.Fatal(err)
	}
	var out []memory
	for _, args := range [][]string{
		{"-t", "ext4", "-O", "^metadata_csum,uninit_bg,^has_journal,^resize_inode"},
		{"-t", "ext4", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode,inline_data"},
		{"-t", "ext2", "-I", "128"},
		{"-t", "ext4", "-O", "^metadata_csum,uninit_bg,^has_journal,^resize_inode,bigalloc", "-C", "2048"},
		{"-t", "ext4", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode,quota,project,ea_inode", "-E", allQuotas},
	} {
		img := makeImage(f, dir, "128", append([]string{"-b", "1024", "-N", "32"}, args...)...)
		debugfs(f, img, "ea_set /a user.x hello")
		if slices.Contains(args, allQuotas) {
			debugfs(f, img, "ea_set -f "+dir+"/c /b user.x")
			mend(f, img)
		}
		b, err := os.ReadFile(img)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// FuzzImage mutates a file system at will. Whatever is accepted must be read
// and labelled without a panic, its contents must survive, and it must be
// accepted again.
func FuzzImage(f *testing.F) {
	images := fuzzImages(f)
	f.Add(byte(0), []byte{})
	f.Add(byte(1), []byte{0, 4, 0x60, 0xff})
	f.Add(byte(2), []byte{0, 20, 3, 7, 1, 21, 9, 9})
	f.Add(byte(3), []byte{})
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		m := memory(bytes.Clone(images[int(which)%len(images)]))
		for ; len(patches) >= 4; patches = patches[4:] { // offset in 3 bytes, value
			at := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
			m[at%len(m)] = patches[3]
		}
		if _, err := ReadInfo(m, int64(len(m))); err != nil {
			return
		}
		fs, err := Open(m, int64(len(m)))
		if err != nil {
			return
		}
		for _, path := range []string{"/a", "/d/../l", "/l/x"} {
			if in, err := fs.Lookup(path); err == nil {
				sum(fs, in)
				fs.Xattrs(in)
			}
		}
		l, err := fs.Check(context.Background())
		if err != nil {
			return
		}
		before := sums(t, fs, l)
		e, err := l.Edit(EditOptions{DropEVM: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range l.Files {
			if err := e.SetIMA(file.Inode.Number, pattern(265, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := e.NewBlocks(); err != nil {
			return
		}
		if err := e.Commit(context.Background(), m); err != nil {
			return // a refusal, or found in reading back
		}
		fs, l = mustCheck(t, m)
		for number, s := range sums(t, fs, l) {
			if s != before[number] {
				t.Errorf("contents of inode %d changed", number)
			}
		}
	})
}

func sums(t *testing.T, fs *FS, l *Listing) map[uint32][32]byte {
	out := map[uint32][32]byte{}
	for _, f := range l.Files {
		s, err := sum(fs, f.Inode)
		if err != nil {
			t.Fatalf("%q was accepted, but cannot be read: %v", f.Paths, err)
		}
		out[f.Inode.Number] = s
	}
	return out
}

// sum reads at most a megabyte: sizes of sparse files are not bounded.
func sum(fs *FS, in *Inode) ([32]byte, error) {
	c, err := fs.Contents(in)
	if err != nil {
		return [32]byte{}, err
	}
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	return sha256.Sum256(b), err
}

// FuzzXattrs parses a list of attributes and writes it again.
func FuzzXattrs(f *testing.F) {
	area := make([]byte, 128)
	putEntries(area, 0, []entry{
		{index: 1, name: "x", value: []byte("hello")}, {index: indexSecurity, name: imaName, value: pattern(20, 1), hash: 7},
		{index: 1, name: "outside", inode: 12, outside: 5000, hash: 9},
	})
	f.Add(area)
	nameless := make([]byte, 64) // its offset alone tells it from the end of the list
	nameless[xaOffValue] = 32
	f.Add(nameless)
	f.Fuzz(func(t *testing.T, area []byte) {
		entries, err := parseEntries(area, 0)
		if err != nil {
			return
		}
		if n := entriesSize(entries); n > pad4(len(area)) {
			t.Fatalf("%d bytes of attributes out of %d", n, len(area))
		}
		again := make([]byte, pad4(len(area)))
		putEntries(again, 0, entries)
		got, err := parseEntries(again, 0)
		if err != nil || len(got) != len(entries) {
			t.Fatalf("%d entries became %d: %v", len(entries), len(got), err)
		}
		for i := range got {
			if got[i].fullName() != entries[i].fullName() || !bytes.Equal(got[i].value, entries[i].value) || got[i].hash != entries[i].hash ||
				got[i].inode != entries[i].inode || got[i].outside != entries[i].outside {
				t.Errorf("entry %d changed", i)
			}
		}
	})
}

// FuzzDirectory parses a block of directory entries.
func FuzzDirectory(f *testing.F) {
	block := make([]byte, 64)
	le.PutUint32(block, 12)
	le.PutUint16(block[deOffRecLen:], 64)
	block[deOffNameLen], block[deOffFileType] = 3, 1
	copy(block[deHeader:], "abc")
	f.Add(block, true)
	f.Add(block, false)
	f.Fuzz(func(t *testing.T, block []byte, filetype bool) {
		sb := &superblock{blockSize: 1024, inodes: 100}
		if filetype {
			sb.features[incompat] = incompatFiletype
		}
		d := &dirReader{fs: &FS{sb: sb}, in: &Inode{}}
		if d.parse(block, d.add) != nil || d.checkNames() != nil {
			return
		}
		for _, e := range d.entries {
			if e.Name == "" || len(e.Name) > maxName || e.Ino == 0 || e.Ino > sb.inodes || !bytes.Contains(block, []byte(e.Name)) {
				t.Errorf("entry %+v", e)
			}
		}
	})
}

// FuzzExtents walks an extent tree whose root and only block are arbitrary.
func FuzzExtents(f *testing.F) {
	root := make([]byte, inBlockSize)
	le.PutUint16(root, exMagic)
	le.PutUint16(root[exOffEntries:], 1)
	le.PutUint16(root[exOffMax:], 4)
	le.PutUint16(root[exEntrySize+exOffLen:], 5)
	le.PutUint32(root[exEntrySize+exOffStartLo:], 1)
	f.Add(root, root)
	deep := bytes.Clone(root)
	le.PutUint16(deep[exOffDepth:], 1)
	le.PutUint32(deep[exEntrySize+exOffLeafLo:], 1)
	f.Add(deep, root)
	f.Fuzz(func(t *testing.T, root, block []byte) {
		m := make(memory, 16<<10)
		copy(m[1024:2048], block)
		fs := &FS{r: m, sb: &superblock{blockSize: 1024, blocks: 16, firstData: 1}}
		in := &Inode{Number: 12, Mode: modeRegular, Flags: flExtents, raw: make([]byte, 256)}
		copy(in.iBlock(), root)
		var next, total uint64
		err := fs.mapBlocks(in, mapper{run: func(r run) error {
			if r.logical < next || r.count == 0 || !fs.sb.holds(r.physical) || !fs.sb.holds(r.physical+r.count-1) {
				t.Fatalf("run %+v after %d", r, next)
			}
			next = r.logical + r.count
			total += r.count
			return nil
		}})
		if err == nil && total > fs.sb.blocks {
			t.Errorf("%d blocks mapped", total)
		}
	})
}

// FuzzSuperblock decodes and judges a superblock.
func FuzzSuperblock(f *testing.F) {
	for _, m := range fuzzImages(f) {
		f.Add([]byte(m[superOffset:][:superSize]))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		const size = 128 << 10
		m := make(memory, size)
		copy(m[superOffset:], raw)
		info, err := ReadInfo(m, size)
		if err != nil {
			return
		}
		fs, err := Open(m, size)
		if err == nil && (len(info.Problems) > 0 || uint64(info.BlockSize)*info.Blocks > size) {
			t.Errorf("opened in spite of %q", info.Problems)
		}
		if err == nil && binary.LittleEndian.Uint16(raw[sbMagic:]) != superMagic {
			t.Error("opened without a magic number")
		}
		_ = fs
	})
}
