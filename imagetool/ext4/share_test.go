package ext4

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSharedAttributes lets each of many inodes have the same block, as full of
// attributes as can be. e2fsck accepts that; looking at them all would take minutes.
func TestSharedAttributes(t *testing.T) {
	const files = 900
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "8M", "-t", "ext4", "-b", "65536", "-I", "128", "-N", "1024", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode")
	debugfs(t, img, "ea_set /0 user.large "+strings.Repeat("x", 200))
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	m := memory(b)
	fs, _ := mustCheck(t, m)
	first := lookup(t, fs, "/0")
	share := func(names int) error {
		block := m[first.acl*fs.sb.blockSize:][:fs.sb.blockSize]
		var entries []entry
		for i := range names {
			e := entry{index: 1, name: string([]byte{byte(1 + i/250), byte(1 + i%250)})}
			e.hash = e.entryHash(nil, false)
			entries = append(entries, e)
		}
		putEntries(block, xaBlockHeader, entries)
		le.PutUint32(block[xaOffRefcount:], files)
		for i := range files {
			editInode(t, m, fs, lookup(t, fs, fmt.Sprintf("/%d", i)), func(raw []byte) {
				le.PutUint32(raw[inFileACLLo:], uint32(first.acl))
				le.PutUint32(raw[inBlocksLo:], uint32(fs.sb.blockSize/512))
			})
		}
		_, _, err := checkAll(m)
		return err
	}
	if err := share(1000); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if err := share(3000); !errors.As(err, &refused) || !strings.Contains(err.Error(), "too many") {
		t.Errorf("error is %v, expected one about too many attributes", err)
	}
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	fsck(t, img)
}

// TestOutsideValues counts values that lie elsewhere up to the bound, and beyond.
func TestOutsideValues(t *testing.T) {
	fs, l := mustCheck(t, smallImage(t))
	limit := uint64(minOutside) + outsideMax*fs.sb.blocks*fs.sb.blockSize
	in := lookup(t, fs, "/plain")
	if err := l.sumAttributes(in, 1, limit); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if err := l.sumAttributes(in, 1, 1); !errors.As(err, &refused) {
		t.Errorf("error is %v, expected a refusal", err)
	}
}
