package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// valueImage has attributes with values in inodes of their own: in /body next
// to a small one, in the block of /block, and one in a block that /shared-1, -2
// and -3 share. debugfs gives an attribute such an inode when its value fits
// nowhere else; that in the block is moved there, and the block shared, by hand.
func valueImage(t testing.TB, args ...string) memory {
	t.Helper()
	dir := t.TempDir()
	names := []string{"plain", "body", "block", "shared-1", "shared-2", "shared-3"}
	for i, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), pattern(100*i, int64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "2M", smallArgs(append([]string{"-O", "ea_inode"}, args...))...)
	value := filepath.Join(t.TempDir(), "value")
	for i, name := range names[1:4] {
		if err := os.WriteFile(value, pattern(1000+i, int64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
		debugfs(t, img, "ea_set -f "+value+" /"+name+" user.large")
		debugfs(t, img, "ea_set /"+name+" user.small small")
	}
	mend(t, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	m := memory(b)
	if fs, _ := mustCheck(t, m); fs.sb.inodeSize > goodOldInodeSize {
		return m
	}
	return shareByHand(t, m)
}

// shareByHand has two more files refer to the block of /shared-1.
func shareByHand(t testing.TB, m memory) memory {
	t.Helper()
	fs, _ := mustCheck(t, m)
	first := lookup(t, fs, "/shared-1")
	for _, name := range []string{"/shared-2", "/shared-3"} {
		editInode(t, m, fs, lookup(t, fs, name), func(raw []byte) {
			copy(raw[inFileACLLo:][:4], first.raw[inFileACLLo:])
			le.PutUint32(raw[inBlocksLo:], le.Uint32(raw[inBlocksLo:])+2*1024/512) // the block and the value
		})
	}
	fs.setRefs(first.acl, m[first.acl*fs.sb.blockSize:][:fs.sb.blockSize], 3)
	if len(newQuotas(fs.sb)) == 0 {
		fsckMemory(t, m)
		return m
	}
	img := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	mend(t, img)
	m, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// outside is the entry of user.large, and whether it lies in the block.
func outside(t testing.TB, fs *FS, path string) (*entry, bool) {
	t.Helper()
	body, block, err := fs.allEntries(lookup(t, fs, path))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range slices.Concat(body, block) {
		if e.inode != 0 {
			return &e, i >= len(body)
		}
	}
	t.Fatalf("%s has no value in an inode of its own", path)
	return nil, false
}

// TestValueInodes reads such values and writes values beside them.
func TestValueInodes(t *testing.T) {
	for _, args := range [][]string{
		{"-I", "128"}, {"-I", "256"}, {"-I", "512"},
		{"-I", "128", "-O", "ea_inode,^metadata_csum,uninit_bg"}, {"-I", "128", "-O", "ea_inode,^metadata_csum,^uninit_bg,^extent,^64bit"},
		{"-I", "128", "-O", "ea_inode,metadata_csum_seed"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			m := valueImage(t, args...)
			for _, n := range []int{265, 393, 40} {
				fs, l := mustCheck(t, m)
				if len(l.Files) != 6 {
					t.Fatalf("%d files, expected 6", len(l.Files))
				}
				for i, path := range []string{"/body", "/block", "/shared-1", "/shared-2"} {
					if i == 3 && fs.sb.inodeSize > goodOldInodeSize {
						break
					}
					got := xattrs(t, fs, path)
					if want := string(pattern(1000+min(i, 2), int64(min(i, 2)))); got["user.large"] != want || got["user.small"] != "small" {
						t.Errorf("%s: attributes are %q", path, got)
					}
				}
				commit(t, stage(t, l, EditOptions{}, n), m)
			}
			fs, _ := mustCheck(t, m)
			if fs.sb.inodeSize > goodOldInodeSize {
				return
			}
			e, _ := outside(t, fs, "/shared-1")
			value, err := fs.anyInode(e.inode)
			if err != nil {
				t.Fatal(err)
			}
			// Each of the three has a block of its own now.
			if value.valueRefs() != 3 {
				t.Errorf("reference count of inode %d is %d, expected 3", e.inode, value.valueRefs())
			}
		})
	}
}

// TestValueInodeOfIMA: replacing it would mean to free an inode.
func TestValueInodeOfIMA(t *testing.T) {
	for _, name := range []string{"security.ima", "security.evm"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		value := filepath.Join(t.TempDir(), "value")
		if err := os.WriteFile(value, pattern(1000, 1), 0o644); err != nil {
			t.Fatal(err)
		}
		img := makeImage(t, dir, "2M", smallArgs([]string{"-O", "ea_inode"})...)
		debugfs(t, img, "ea_set -f "+value+" /file "+name)
		mend(t, img)
		b, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		m := memory(b)
		fs, l := mustCheck(t, m)
		if got := xattrs(t, fs, "/file"); got[name] != string(pattern(1000, 1)) {
			t.Errorf("%s is %q", name, got)
		}
		_, err = stage(t, l, EditOptions{DropEVM: true}, 265).Prepare()
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "value of "+name+" lies in inode") {
			t.Errorf("error is %v", err)
		}
	}
}

// TestValueInodeLies breaks the books of values in inodes of their own.
func TestValueInodeLies(t *testing.T) {
	image := valueImage(t, "-I", "128")
	fs, _ := mustCheck(t, image)
	bs := fs.sb.blockSize
	owner := lookup(t, fs, "/block")
	e, inBlock := outside(t, fs, "/block")
	if !inBlock {
		t.Fatal("value is not referred to from a block")
	}
	value, err := fs.anyInode(e.inode)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(raw []byte)) func(memory) { return func(m memory) { editInode(t, m, fs, value, f) } }
	list := func(f func([]entry) []entry) func(memory) {
		return func(m memory) {
			raw := m[owner.acl*bs:][:bs]
			entries, err := parseEntries(raw, xaBlockHeader)
			if err != nil {
				t.Fatal(err)
			}
			putEntries(raw, xaBlockHeader, f(entries))
			fs.setRefs(owner.acl, raw, 1)
		}
	}
	change := func(f func(e *entry)) func(memory) {
		return list(func(entries []entry) []entry {
			for i := range entries {
				if entries[i].inode != 0 {
					f(&entries[i])
				}
			}
			return entries
		})
	}
	blocks := func(m memory, more int) {
		editInode(t, m, fs, owner, func(raw []byte) {
			le.PutUint32(raw[inBlocksLo:], uint32(int(le.Uint32(raw[inBlocksLo:]))+more*1024/512))
		})
	}
	refuseLies(t, image, []lie{
		{"reference count", "reference count is 2, but there are 1", edit(func(raw []byte) { raw[inVersionLo]++ })},
		{"upper half of it", "reference count is 4294967297, but there are 1", edit(func(raw []byte) { raw[inCtime]++ })},
		{"hash of the value", "hash of \"user.large\"", edit(func(raw []byte) { raw[inAtime]++ })},
		{"value", "hash of the value", func(m memory) { m[blockOf(t, fs, value, 0)*bs]++ }},
		{"size", "its inode", change(func(e *entry) { e.outside-- })},
		{"size of both", "computed", func(m memory) {
			change(func(e *entry) { e.outside-- })(m)
			edit(func(raw []byte) { le.PutUint32(raw[inSizeLo:], e.outside-1) })(m)
		}},
		{"hash", "hash of \"user.large\"", change(func(e *entry) { e.hash++ })},
		{"no such inode", "does not exist", change(func(e *entry) { e.inode = 70000 })},
		{"free inode", "inode 63", change(func(e *entry) { e.inode = 63 })},
		{"reserved inode", "is not one for the value", change(func(e *entry) { e.inode = inoResize })},
		{"a file", "is not one for the value", change(func(e *entry) { e.inode = lookup(t, fs, "/plain").Number })},
		{"no reference", "nothing refers to it", func(m memory) {
			list(func(entries []entry) []entry {
				return slices.DeleteFunc(entries, func(e entry) bool { return e.inode != 0 })
			})(m)
			blocks(m, -1)
		}},
		{"another reference", "reference count is 1, but there are 2", func(m memory) {
			list(func(entries []entry) []entry {
				other := *e
				other.name = "zzzzzzzz"
				other.hash = other.entryHash(le.AppendUint32(nil, value.valueHash()), false)
				return append(entries, other)
			})(m)
			blocks(m, 1)
		}},
		{"flag", "is not one for the value", edit(func(raw []byte) {
			le.PutUint32(raw[inFlags:], le.Uint32(raw[inFlags:])&^flEAInode)
		})},
		{"a directory", "is not one for the value", edit(func(raw []byte) {
			le.PutUint16(raw[inMode:], modeFIFO|0o600)
		})},
		{"attributes of its own", "but extended attributes itself", edit(func(raw []byte) {
			le.PutUint32(raw[inFileACLLo:], uint32(owner.acl))
		})},
		{"too large", "but 70000 bytes", edit(func(raw []byte) { le.PutUint32(raw[inSizeLo:], 70000) })},
		{"hole", "hole", func(m memory) {
			change(func(e *entry) { e.outside = 3000 })(m)
			blocks(m, 2)
			edit(func(raw []byte) { le.PutUint32(raw[inSizeLo:], 3000) })(m)
		}},
		{"Lustre", "Lustre", edit(func(raw []byte) {
			le.PutUint32(raw[inMtime:], owner.Number)
			copy(raw[inGeneration:][:4], owner.raw[inGeneration:])
		})},
		{"no feature", "lacks the feature", func(m memory) {
			patch(m, func(sb []byte) {
				le.PutUint32(sb[sbFeatureIncompat:], le.Uint32(sb[sbFeatureIncompat:])&^incompatEAInode)
			})
		}},
		{"i_blocks", "i_blocks is", func(m memory) { blocks(m, -1) }},
	})
}

// TestValueInodeWithName: what has a value has no name.
func TestValueInodeWithName(t *testing.T) {
	m := valueImage(t, "-I", "128", "-O", "ea_inode,^metadata_csum,^uninit_bg")
	fs, _ := mustCheck(t, m)
	e, _ := outside(t, fs, "/block")
	root := m[blockOf(t, fs, inode(t, fs, inoRoot), 0)*fs.sb.blockSize:][:fs.sb.blockSize]
	at := bytes.Index(root, []byte("plain")) - deHeader
	le.PutUint32(root[at:], e.inode)
	refusedFor(t, m, "which has the value of an extended attribute")
	fs, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lookup("/plain"); err == nil || !strings.Contains(err.Error(), "has the value of an extended attribute") {
		t.Errorf("error is %v", err)
	}
}

// TestValueInodesCost: owners pay for values even if others have them too.
func TestValueInodesCost(t *testing.T) {
	m := valueImage(t, "-I", "128", "-O", "ea_inode,quota")
	for _, n := range []int{265, 300} {
		_, l := mustCheck(t, m)
		commit(t, stage(t, l, EditOptions{}, n), m)
	}
}
