package undo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/ext4"
)

// A crashKind is a kind of image. They differ in what a commit writes, and where.
type crashKind struct {
	name  string
	size  string // of each file system
	count int    // of file systems
	label int    // bytes in a value
	args  []string
}

var crashKinds = []crashKind{
	{"ext2", "384k", 1, 265, []string{"-t", "ext2", "-b", "1024", "-I", "128"}},
	{"ext3", "3M", 1, 265, []string{"-t", "ext3", "-b", "1024"}},
	{"metadata_csum", "512k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"}},
	{"uninit_bg, small groups", "768k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-g", "256", "-O", "^has_journal,^resize_inode,^metadata_csum,uninit_bg"}},
	{"no checksums", "512k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal,^metadata_csum,^uninit_bg"}},
	{"4k", "1M", 1, 521, []string{"-t", "ext4", "-b", "4096", "-O", "^has_journal"}},
	{"meta_bg", "512k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal,meta_bg,^resize_inode"}},
	{"bigalloc", "1M", 1, 265, []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-O", "^has_journal,^resize_inode,bigalloc"}},
	{"mmp", "512k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal,mmp"}},
	{"quota", "768k", 1, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal,quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"}},
	{"labels in inodes", "512k", 1, 100, []string{"-t", "ext4", "-b", "1024", "-I", "512", "-O", "^has_journal"}},
	{"two file systems", "384k", 2, 265, []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"}},
}

const crashFiles = 24

// makeCrashImage makes one file system with files, one of which has two names.
func makeCrashImage(t testing.TB, size string, args []string) []byte {
	t.Helper()
	tree, img := t.TempDir(), filepath.Join(t.TempDir(), "fs.img")
	for i := range crashFiles {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("file%d", i)), bytes.Repeat([]byte{byte(i)}, 100*i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(tree, "file1"), filepath.Join(tree, "another")); err != nil {
		t.Fatal(err)
	}
	command(t, "mke2fs", slices.Concat([]string{"-q", "-N", "64", "-d", tree}, args, []string{img, size})...)
	// mke2fs -d of 1.47.0 forgets to count what it writes in quotas.
	if strings.Contains(strings.Join(args, " "), "quota") {
		exec.Command(need(t, "e2fsck"), "-fy", img).Run()
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(need(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// need finds a program, among those of root too, or skips the test.
func need(t testing.TB, tool string) string {
	t.Helper()
	for _, name := range []string{tool, "/usr/sbin/" + tool, "/sbin/" + tool} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
	return ""
}

// prepare stages a label of n bytes for each file of each file system on p.
func prepare(t testing.TB, p *platter, size int64, count, n int, seed byte) (*Guard, []Change) {
	t.Helper()
	g := &Guard{Path: "image", Size: int64(len(p.data)), Log: platterLog{p}, Device: p}
	var changes []Change
	for i := range count {
		s := section{p, int64(i) * size, size}
		fs, err := ext4.Open(s, size)
		if err != nil {
			t.Fatal(err)
		}
		l, err := fs.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := l.Edit(ext4.EditOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range l.Files {
			if err := e.SetIMA(f.Inode.Number, label(f.Paths[0], n, seed)); err != nil {
				t.Fatal(err)
			}
		}
		tx, err := e.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, &labels{tx, s.start, s})
	}
	return g, changes
}

// labels are those of one file system on a platter.
type labels struct {
	*ext4.Transaction
	start int64
	dev   ext4.Device
}

func (l *labels) Blocks() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for b, err := range l.Transaction.Blocks() {
			if !yield(Block{l.start + b.Offset, b.Versions}, err) {
				return
			}
		}
	}
}

func (l *labels) Commit(ctx context.Context) error { return l.Transaction.Commit(ctx, l.dev) }

func label(path string, n int, seed byte) []byte {
	sum := sha256.Sum256(append([]byte(path), seed))
	return bytes.Repeat(sum[:], n/len(sum)+1)[:n]
}

// judge asks e2fsck and debugfs whether all file systems are in order and all labels
// there.
func judge(t testing.TB, image []byte, size int64, count, n int, seed byte) {
	t.Helper()
	for i := range count {
		img := filepath.Join(t.TempDir(), "judged.img")
		if err := os.WriteFile(img, image[int64(i)*size:][:size], 0o644); err != nil {
			t.Fatal(err)
		}
		command(t, "e2fsck", "-fn", img)
		for j := range crashFiles {
			path := fmt.Sprintf("/file%d", j)
			if j == 1 {
				path = "/another" // the first of its names
			}
			value := filepath.Join(t.TempDir(), "value")
			command(t, "debugfs", "-R", fmt.Sprintf("ea_get -f %s %s security.ima", value, path), img)
			if got, err := os.ReadFile(value); err != nil || !bytes.Equal(got, label(path, n, seed)) {
				t.Fatalf("label of %s: %s, %v", path, hex.EncodeToString(got), err)
			}
		}
	}
}

// unchanged is for a platter, which nobody else has.
func unchanged() error { return nil }

// TestPowerLoss takes the power away after every sector that is written, with others
// lost that were not yet synced. What is left is either what was there before, or all
// of what was to be written, or it has a log, is accepted by nobody, and gets its
// exact bytes back.
func TestPowerLoss(t *testing.T) {
	kinds := crashKinds
	if testing.Short() {
		kinds = kinds[:1]
	}
	total, recovered := 0, 0
	for k, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(k), 1))
			system := makeCrashImage(t, kind.size, kind.args)
			size := int64(len(system))
			fresh := bytes.Repeat(system, kind.count)
			labelled := sign(t, fresh, size, kind.count, kind.label, 1)
			judge(t, labelled.data, size, kind.count, kind.label, 1)
			again := sign(t, labelled.data, size, kind.count, kind.label, 2)
			judge(t, again.data, size, kind.count, kind.label, 2)
			for _, run := range []struct {
				before []byte
				after  *platter
			}{{fresh, labelled}, {labelled.data, again}} {
				n, r := losePower(t, run.before, run.after, size, kind.count, rnd)
				total, recovered = total+n, recovered+r
			}
		})
	}
	t.Logf("%d moments at which the power went, %d of them with something to recover", total, recovered)
	if total < 500*len(kinds) || recovered < total/2 {
		t.Errorf("that is too few to mean anything")
	}
}

// sign labels an image without any trouble.
func sign(t testing.TB, image []byte, size int64, count, n int, seed byte) *platter {
	t.Helper()
	p := &platter{data: bytes.Clone(image)}
	g, changes := prepare(t, p, size, count, n, seed)
	if err := errors.Join(g.Commit(unchanged, changes), g.Finish()); err != nil {
		t.Fatal(err)
	}
	if p.log != nil || bytes.Equal(p.data, image) {
		t.Fatal("nothing was written, or the log is still there")
	}
	return p
}

func losePower(t *testing.T, before []byte, after *platter, size int64, count int, rnd *rand.Rand) (total, recovered int) {
	log := logOf(t, after)
	scratch := make([]byte, len(before))
	wrecks(before, false, after.events, rnd, func(w wreck) {
		total++
		whole := bytes.Equal(w.data, before) || bytes.Equal(w.data, after.data)
		if !whole {
			if !w.log {
				t.Fatalf("%s: neither before nor after, and without a log", w.where)
			}
			acceptedAsClean(t, w, before, after.data, size, count)
		}
		if !w.log {
			return
		}
		recovered++
		copy(scratch, w.data)
		p := &platter{data: scratch, log: log}
		if err := p.recover(); err != nil {
			t.Fatalf("%s: %v", w.where, err)
		}
		if !bytes.Equal(p.data, before) || p.log != nil {
			t.Fatalf("%s: recovered to something else", w.where)
		}
		if rnd.IntN(100) == 0 {
			n := losePowerAgain(t, w, log, p.events, before, after.data, size, count, rnd)
			total, recovered = total+n, recovered+n
		}
	})
	return total, recovered
}

// logOf is the log that a run over these bytes has had.
func logOf(t *testing.T, after *platter) []byte {
	t.Helper()
	for _, e := range after.events {
		if e.kind == eventLog {
			return e.data
		}
	}
	t.Fatal("there was no log")
	return nil
}

// losePowerAgain takes the power away while a wreck is recovered.
func losePowerAgain(t *testing.T, w wreck, log []byte, events []event, want, after []byte, size int64, count int, rnd *rand.Rand) (n int) {
	wrecks(w.data, true, events, rnd, func(again wreck) {
		if !again.log {
			return
		}
		n++
		acceptedAsClean(t, again, want, after, size, count)
		p := &platter{data: bytes.Clone(again.data), log: log}
		if err := p.recover(); err != nil {
			t.Fatalf("%s, then %s while recovering: %v", w.where, again.where, err)
		}
		if !bytes.Equal(p.data, want) {
			t.Fatalf("%s, then %s while recovering: recovered to something else", w.where, again.where)
		}
	})
	return n
}

// acceptedAsClean fails if a file system that is neither as before nor as after is
// taken for a clean one, with the log lost.
func acceptedAsClean(t *testing.T, w wreck, before, after []byte, size int64, count int) {
	t.Helper()
	for i := range count {
		from := int64(i) * size
		system := w.data[from:][:size]
		if bytes.Equal(system, before[from:][:size]) || bytes.Equal(system, after[from:][:size]) {
			continue
		}
		if _, err := ext4.Open(bytes.NewReader(system), size); err == nil {
			t.Fatalf("%s: file system %d is taken for a clean one", w.where, i)
		}
	}
}
