package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func mmpImage(t testing.TB, features string) memory {
	t.Helper()
	img := makeImage(t, "", "4M", "-t", "ext4", "-b", "1024", "-N", "64", "-O", "mmp,^has_journal,^resize_inode"+features)
	fsck(t, img)
	m, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mmpState asks debugfs, which checks the checksum, for the sequence and the host.
func mmpState(t *testing.T, m memory) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	return execute(t, "debugfs", "-R", "dump_mmp", img)
}

// TestMMPStates: only a file system that nobody uses is read.
func TestMMPStates(t *testing.T) {
	whole := mmpImage(t, "")
	fs, _ := mustCheck(t, whole)
	at := fs.sb.mmpOffset()
	edit := func(change func(raw []byte)) func(m memory) {
		return func(m memory) {
			raw := m[at:][:mmpSize]
			change(raw)
			le.PutUint32(raw[mmpOffChecksum:], fs.sb.mmpChecksum(raw))
		}
	}
	state := func(seq uint32, host string) func(m memory) {
		return edit(func(raw []byte) {
			le.PutUint32(raw[mmpOffSeq:], seq)
			clear(raw[mmpOffNode:mmpOffDevice])
			copy(raw[mmpOffNode:], host)
		})
	}
	for _, c := range []struct {
		name, want string
		edit       func(m memory)
	}{
		{"in use", "file system is in use on host db-1, or was when that host failed (MMP sequence 0x1234)", state(0x1234, "db-1")},
		{"name that does not print", "file system is in use, or was", state(0x1234, "db\x1b[1m")},
		{"name without end", "in use on host " + strings.Repeat("n", 64) + ", or", state(0x1234, strings.Repeat("n", 70))},
		{"no name", "file system is in use, or was", state(1, "")},
		{"unknown sequence", "MMP sequence 0xffffffff", state(0xffffffff, "")},
		{"e2fsck", "file system is in use on host db-1 by e2fsck", state(mmpSeqFsck, "db-1")},
		{"magic", "has no magic number", edit(func(raw []byte) { raw[0]++ })},
		{"checksum", fmt.Sprintf("MMP block %d: checksum is", fs.sb.mmpBlock()), func(m memory) { m[at+mmpOffInterval]++ }},
		{"nowhere", "MMP block 0 is outside", func(m memory) { patch(m, func(raw []byte) { le.PutUint64(raw[sbMMPBlock:], 0) }) }},
		{"outside", "MMP block 4096 is outside", func(m memory) { patch(m, func(raw []byte) { le.PutUint64(raw[sbMMPBlock:], 4096) }) }},
		{"far outside", "is outside", func(m memory) { patch(m, func(raw []byte) { le.PutUint64(raw[sbMMPBlock:], 1<<63+32) }) }},
		{"in a directory", "has two owners", func(m memory) {
			to := blockOf(t, fs, inode(t, fs, inoRoot), 0)
			copy(m[to*1024:], m[at:][:mmpSize])
			patch(m, func(raw []byte) { le.PutUint64(raw[sbMMPBlock:], to) })
		}},
		{"in metadata", "has two owners", func(m memory) {
			to := fs.groups[0].inodeTable + fs.sb.itableBlocks() - 1
			copy(m[to*1024:], m[at:][:mmpSize])
			patch(m, func(raw []byte) { le.PutUint64(raw[sbMMPBlock:], to) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(whole))
			c.edit(m)
			refusedFor(t, m, c.want)
		})
	}
	m := memory(bytes.Clone(whole))
	state(7, "db-1")(m)
	patch(m, func(raw []byte) { raw[sbFeatureIncompat] |= incompatRecover })
	if _, _, err := checkAll(m); err == nil || !strings.Contains(err.Error(), "is in use on host db-1") { // which says more than the journal
		t.Errorf("error is %v", err)
	}
}

// TestMMPHeld: what is written while a file system is changed keeps e2fsck away,
// and what is written afterwards says that nobody uses it.
func TestMMPHeld(t *testing.T) {
	for name, features := range map[string]string{"checksums": "", "bare": ",^metadata_csum,^uninit_bg", "clusters": ",bigalloc"} {
		t.Run(name, func(t *testing.T) {
			m := mmpImage(t, features)
			fs, _ := mustCheck(t, m)
			mark, err := fs.mmpMark()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.WriteAt(mark.during, mark.off); err != nil {
				t.Fatal(err)
			}
			refusedFor(t, m, "file system is in use on host vmseal by e2fsck")
			if s := mmpState(t, m); !strings.Contains(s, "sequence: e24d4d50") || !strings.Contains(s, "node_name: vmseal\n") {
				t.Errorf("debugfs says:\n%s", s)
			}
			img := filepath.Join(t.TempDir(), "held.img")
			if err := os.WriteFile(img, m, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(need(t, "e2fsck"), "-fp", img).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("MMP")) {
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
			if _, err := m.WriteAt(mark.after, mark.off); err != nil {
				t.Fatal(err)
			}
			mustCheck(t, m)
			fsckMemory(t, m)
			if s := mmpState(t, m); !strings.Contains(s, "sequence: ff4d4d50") || !strings.Contains(s, "node_name: vmseal\n") {
				t.Errorf("debugfs says:\n%s", s)
			}
		})
	}
}

// latecomer is a device to which another host writes at the same time.
type latecomer struct {
	memory
	off    int64
	writes int // of ours, until it comes
}

func (d *latecomer) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.memory.WriteAt(p, off)
	if d.writes--; d.writes == 0 {
		le.PutUint32(d.memory[d.off+mmpOffSeq:], 4711)
	}
	return n, err
}

// TestMMPTaken has another host come before the first write, and after each. Who
// comes between a write to the superblock and the one to the MMP block is
// overwritten, and will find that out.
func TestMMPTaken(t *testing.T) {
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(makeImage(t, tree, "1M", smallArgs([]string{"-O", "^has_journal,^resize_inode,^metadata_csum,^uninit_bg,mmp"})...))
	if err != nil {
		t.Fatal(err)
	}
	image, total := memory(b), 0
	commit := func(writes int) error {
		d := &latecomer{memory: bytes.Clone(image), writes: writes}
		fs, l := mustCheck(t, d.memory)
		d.off = fs.sb.mmpOffset()
		e := stage(t, l, EditOptions{}, 265)
		if writes == 0 {
			le.PutUint32(d.memory[d.off+mmpOffSeq:], 4711)
		}
		before := bytes.Clone(d.memory)
		err := e.Commit(t.Context(), d)
		total = writes - d.writes
		if writes == 0 && !bytes.Equal(d.memory, before) {
			t.Error("something was written all the same")
		}
		return err
	}
	if err := commit(1000); err != nil {
		t.Fatal(err)
	}
	last := total
	for writes := range last + 1 {
		if writes == 1 || writes == last-1 {
			continue
		}
		if err := commit(writes); err == nil || !strings.Contains(err.Error(), "MMP") {
			t.Errorf("another host came after %d of %d writes: %v", writes, last, err)
		}
	}
}
