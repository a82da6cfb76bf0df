package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const allQuotas = "quotatype=usrquota:grpquota:prjquota"

// owners are ids whose references lie in all corners of the tree.
var owners = []uint32{0, 1, 255, 256, 1000, 70000, 1<<24 + 5, 1<<31 + 5, 1<<32 - 3}

// quotaImage has files of many owners. mke2fs counts before it copies the files
// in, so that e2fsck has to count again.
func quotaImage(t testing.TB, args ...string) memory {
	t.Helper()
	dir := t.TempDir()
	for i := range 3 * len(owners) {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), pattern(1000*i, int64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "4M", append([]string{"-t", "ext4", "-b", "1024", "-N", "128", "-O", "^has_journal,^resize_inode"}, args...)...)
	var commands []string
	for i, id := range owners {
		for _, n := range []int{3 * i, 3*i + 1, 3*i + 2} {
			commands = append(commands, fmt.Sprintf("set_inode_field /%d uid %d", n, id), fmt.Sprintf("set_inode_field /%d gid %d", n, id^1))
			if strings.Contains(strings.Join(args, " "), "project") {
				commands = append(commands, fmt.Sprintf("set_inode_field /%d projid %d", n, id/2))
			}
		}
	}
	for _, c := range commands {
		debugfs(t, img, c)
	}
	mend(t, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mend has e2fsck count again what debugfs and mke2fs did not.
func mend(t testing.TB, img string) {
	t.Helper()
	out, err := exec.Command(need(t, "e2fsck"), "-fy", img).CombinedOutput()
	if code := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &code) || code.ExitCode() != 1) {
		t.Fatalf("e2fsck -fy: %v\n%s", err, out)
	}
	fsck(t, img)
}

var quotaLine = regexp.MustCompile(`(?m)^ *(\d+) +(\d+) +0 +0 +(\d+) +0 +0 *$`)

// listQuota is what debugfs reads from a quota file.
func listQuota(t testing.TB, m memory, kind string) map[uint32]usage {
	t.Helper()
	img := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	out := map[uint32]usage{}
	for _, f := range quotaLine.FindAllStringSubmatch(execute(t, "debugfs", "-R", "list_quota "+kind, img), -1) {
		id, err1 := strconv.ParseUint(f[1], 10, 32)
		space, err2 := strconv.ParseUint(f[2], 10, 64)
		inodes, err3 := strconv.ParseUint(f[3], 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		out[uint32(id)] = usage{space, inodes}
	}
	return out
}

// TestQuota signs files of many owners and compares what debugfs says that they
// have with what they had and got.
func TestQuota(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want []string // kinds that are recorded
	}{
		{"users and groups", []string{"-O", "quota"}, []string{"user", "group"}},
		{"all", []string{"-O", "quota,project", "-E", allQuotas}, []string{"user", "group", "project"}},
		{"groups only", []string{"-O", "quota", "-E", "quotatype=grpquota"}, []string{"group"}},
		{"projects only", []string{"-O", "quota,project", "-E", "quotatype=prjquota"}, []string{"project"}},
		{"users only", []string{"-O", "quota", "-E", "quotatype=usrquota"}, []string{"user"}},
		{"project without quota", []string{"-O", "project"}, nil},
		{"small inodes", []string{"-O", "quota", "-I", "128"}, []string{"user", "group"}},
		{"orphan file", []string{"-O", "quota,project,orphan_file,has_journal", "-J", "size=1", "-E", allQuotas}, []string{"user", "group", "project"}},
		{"block maps", []string{"-O", "quota,project,^extent,^64bit", "-E", allQuotas}, []string{"user", "group", "project"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := quotaImage(t, c.args...)
			_, l := mustCheck(t, m)
			if len(l.quotas) != len(c.want) {
				t.Fatalf("%d quota files, expected %d", len(l.quotas), len(c.want))
			}
			want := map[string]map[uint32]usage{}
			for _, kind := range c.want {
				want[kind] = listQuota(t, m, kind)
				if len(want[kind]) < len(owners)-2 {
					t.Fatalf("debugfs lists only %d records of %s quotas", len(want[kind]), kind)
				}
			}
			for _, f := range l.Files { // as they are: no file has an attribute block yet
				for i, kind := range c.want {
					id := l.quotas[i].kind.id(f.Inode)
					u := want[kind][id]
					u.space += 1024
					want[kind][id] = u
				}
			}
			commit(t, stage(t, l, EditOptions{}, 265), m)
			for _, kind := range c.want {
				got := listQuota(t, m, kind)
				for id, u := range want[kind] {
					if got[id] != u {
						t.Errorf("%s %d has %+v, expected %+v", kind, id, got[id], u)
					}
				}
			}
			_, l = mustCheck(t, m)
			commit(t, stage(t, l, EditOptions{}, 300), m) // no block more
		})
	}
}

// TestQuotaManyRecords has more owners than one leaf or one node can hold.
func TestQuotaManyRecords(t *testing.T) {
	dir := t.TempDir()
	const n = 400
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "4M", "-t", "ext4", "-N", "512", "-I", "128", "-O", "quota,^has_journal")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "set_inode_field /%d uid %d\n", i, 100*i)
	}
	cmd := exec.Command(need(t, "debugfs"), "-w", "-f", "-", img)
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	mend(t, img)
	m, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	_, l := mustCheck(t, m)
	if got := len(l.quotas[0].dquots); got != n {
		t.Errorf("%d records, expected %d", got, n)
	}
	commit(t, stage(t, l, EditOptions{}, 265), m)
}

// TestQuotaLies breaks one thing in each quota file.
func TestQuotaLies(t *testing.T) {
	image := quotaImage(t, "-O", "quota,project", "-E", allQuotas)
	fs, l := mustCheck(t, image)
	q := l.quotas[0] // of users
	at := func(off int64) uint64 {
		block, in := q.file.place(off)
		return block*fs.sb.blockSize + in
	}
	put32 := func(off int64, v uint32) func(memory) { return func(m memory) { le.PutUint32(m[at(off):], v) } }
	record := func(id uint32, field int64) uint64 { return at(q.dquots[id].off + field) }
	ref := func(id uint32) uint64 { // where the tree refers to it
		block := int64(qtRoot)
		for shift := 24; ; shift -= 8 {
			off := at(block*qtBlockSize + int64(id>>shift&0xff)*4)
			if shift == 0 {
				return off
			}
			block = int64(le.Uint32(image[off:]))
		}
	}
	rootRef := func(id uint32) uint64 { return at(qtRoot*qtBlockSize + int64(id>>24)*4) }
	leaf := uint32(q.dquots[1000].off / qtBlockSize)
	refuseLies(t, image, []lie{
		{"space", "user 1000, but there are", func(m memory) { m[record(1000, dqOffSpace)]++ }},
		{"inodes", "user 70000, but there are", func(m memory) { m[record(70000, dqOffInodes)]++ }},
		{"owner", "which is not there", func(m memory) { le.PutUint32(m[record(1000, 0):], 1001) }},
		{"no reference", "does not lead to the record", func(m memory) { le.PutUint32(m[ref(1000):], 0) }},
		{"no record", "which is not there", func(m memory) { clear(m[record(1000, 0):][:dqSize]) }},
		{"two records", "has two records", func(m memory) { copy(m[record(1000, 0):][:dqSize], m[record(256, 0):][:dqSize]) }},
		{"reference to nowhere", "leads to block 4000000000 of", func(m memory) { le.PutUint32(m[ref(1000):], 4000000000) }},
		{"reference to the root", "leads to block 1 of", func(m memory) { le.PutUint32(m[ref(1000):], qtRoot) }},
		{"reference to a node", "both a node and a leaf", func(m memory) { copy(m[ref(1000):][:4], m[rootRef(0):][:4]) }},
		{"reference to a leaf as a node", "to block", func(m memory) { le.PutUint32(m[rootRef(1<<24):], leaf) }},
		{"loop", "twice", func(m memory) { copy(m[rootRef(2<<24):][:4], m[rootRef(0):][:4]) }},
		{"reference to another id", "which is not there", func(m memory) { le.PutUint32(m[ref(1001):], leaf) }},
		{"magic", "magic number", put32(0, 0xd9c01927)},
		{"version", "format version 0", put32(qtOffVersion, 0)},
		{"blocks", "dqi_blocks is 1000", put32(qtOffBlocks, 1000)},
		{"no root", "dqi_blocks is 1,", put32(qtOffBlocks, 1)},
		{"free block", "list of free blocks begins", put32(qtOffFreeBlock, 1000)},
		{"free entry", "list of free blocks begins", put32(qtOffFreeEntry, 1000)},
		{"size", "size is 1024, but there are", func(m memory) {
			editInode(t, m, fs, inode(t, fs, inoUserQuota), func(raw []byte) { le.PutUint32(raw[inSizeLo:], 1024) })
		}},
		{"project", "project 0, but there are", func(m memory) {
			editInode(t, m, fs, lookup(t, fs, "/1"), func(raw []byte) { le.PutUint32(raw[inProjectID:], 3) })
		}},
		{"another inode", "expected 3", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbUserQuotaInum:], 15) })
		}},
		{"a file with a name", "free or reserved", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbProjectQuotaInum:], lookup(t, fs, "/5").Number) })
		}},
		{"a project file that is free", "has no name", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbProjectQuotaInum:], 127) })
		}},
		{"a project file that does not exist", "cannot be inode", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbProjectQuotaInum:], 12700) })
		}},
		{"no quota", "feature quota is missing", func(m memory) {
			patch(m, func(sb []byte) { le.PutUint32(sb[sbFeatureROCompat:], le.Uint32(sb[sbFeatureROCompat:])&^roQuota) })
		}},
	})
}

// TestQuotaFeatureAlone: the feature promises nothing.
func TestQuotaFeatureAlone(t *testing.T) {
	m := smallImage(t)
	patch(m, func(sb []byte) {
		le.PutUint32(sb[sbFeatureROCompat:], le.Uint32(sb[sbFeatureROCompat:])|roQuota|roProject)
	})
	fsckMemory(t, m)
	_, l := mustCheck(t, m)
	commit(t, stage(t, l, EditOptions{DropEVM: true}, 265), m)
}

// FuzzQuota reads a quota file.
func FuzzQuota(f *testing.F) {
	file := make([]byte, 7*qtBlockSize)
	le.PutUint32(file, quotaKinds[0].magic)
	le.PutUint32(file[qtOffVersion:], qtVersion)
	le.PutUint32(file[qtOffBlocks:], 7)
	for i := range uint32(4) {
		le.PutUint32(file[(qtRoot+i)*qtBlockSize:], qtRoot+i+1)
	}
	le.PutUint64(file[5*qtBlockSize+qtLeafHeader+dqOffSpace:], 4096)
	if _, err := readQuota(bytes.NewReader(file), int64(len(file)), quotaKinds[0].magic); err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, file []byte) {
		dquots, err := readQuota(bytes.NewReader(file), int64(len(file)), quotaKinds[0].magic)
		if err != nil {
			return
		}
		for id, d := range dquots {
			if d.off < 2*qtBlockSize || d.off+dqSize > int64(len(file)) || le.Uint32(file[d.off:]) != id || le.Uint64(file[d.off+dqOffSpace:]) != d.space {
				t.Errorf("record of id %d is %+v", id, d)
			}
		}
	})
}

// TestQuotaReadBack has the record of an owner get lost.
func TestQuotaReadBack(t *testing.T) {
	m := quotaImage(t, "-O", "quota")
	_, l := mustCheck(t, m)
	block, _ := l.quotas[0].file.place(l.quotas[0].dquots[1000].off)
	d := &forgetful{m, int64(block * 1024)}
	err := stage(t, l, EditOptions{}, 265).Commit(context.Background(), d)
	if err == nil || !strings.Contains(err.Error(), "reading back") || !strings.Contains(err.Error(), "quotas") {
		t.Errorf("error is %v", err)
	}
}

// forgetful never writes to one block.
type forgetful struct {
	memory
	off int64
}

func (d *forgetful) WriteAt(p []byte, off int64) (int, error) {
	p = bytes.Clone(p)
	if i := d.off - off; i >= 0 && i < int64(len(p)) {
		copy(p[i:min(i+1024, int64(len(p)))], d.memory[d.off:])
	}
	return d.memory.WriteAt(p, off)
}
