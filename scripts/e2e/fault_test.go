package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// A fault makes operations of a run fail.
type fault struct {
	err     unix.Errno
	forever bool // not only one operation, but all that follow
	reads   bool // also those that only look
}

func (f fault) String() string {
	return unix.ErrnoName(f.err) + map[bool]string{true: "-for-ever", false: "-once"}[f.forever] +
		map[bool]string{true: "", false: "-in-writing"}[f.reads]
}

var faults = []fault{
	{unix.EIO, false, true},
	{unix.EIO, true, true}, // the disk is gone
	{unix.EIO, true, false},
	{unix.ENOSPC, false, false},
	{unix.ENOSPC, true, false},
	{unix.EROFS, false, false},
	{unix.EROFS, true, false},
}

const tinySize = 4 << 20

// tinyImage has new attribute blocks to write, and attributes that fit into their inodes.
func tinyImage(t *testing.T, dir string) string {
	t.Helper()
	image := mke2fs(t, dir, tinySize>>20, "-t", "ext4", "-b", "1024", "-I", "512", "-O", "^has_journal", "-N", "64")
	mounted(func(p *populator) {
		for i := range 5 {
			p.write(itoa(i), fmt.Append(nil, i))
		}
		p.set("0", "user.large", make([]byte, 200))
		p.set("1", "user.large", make([]byte, 300))
	})(t, image)
	return image
}

// TestFaults lets each single operation of a run fail, and each with all that follow.
func TestFaults(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image, counts := tinyImage(t, bed.Dir(t)), &tally{}
	t.Run("sign", func(t *testing.T) {
		for _, f := range faults {
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				tr := newTrial(t, memoryDir(t, "64m"), image)
				for n := 1; ; n++ {
					o, hit := tr.signWith(t, f, n)
					if !hit {
						break
					}
					counts.add(string(o))
				}
			})
		}
	})
	t.Logf("a fault in signing in place: %v", counts)
	counts.expect(t, string(untouched), string(complete), string(pending))
}

// signWith makes the n-th operation fail that the fault is meant for, and reports whether there is such a one.
func (tr *trial) signWith(t *testing.T, f fault, n int) (outcome, bool) {
	t.Helper()
	r, at := f.run(t, tr.signing(), tr.dir(), n)
	if at.n == 0 {
		r.expect(t, 0)
		return "", false
	}
	what := fmt.Sprintf("%v, %v", f, at)
	// Only what may be asked for in vain does not matter: a lease, flags that the runtime is curious about, a hole.
	if r.code == 0 && at.name != "fcntl" && at.name != "lseek" {
		t.Errorf("%s: this passed unnoticed", what)
	}
	manifest, hidden := tr.sweep(t)
	if len(hidden) > 0 && !f.forever && at.name != "unlink" {
		t.Errorf("%s: left behind: %v", what, hidden)
	}
	if whole := r.code == 0 || strings.Contains(r.stderr, "is complete"); whole != manifest && !(f.forever && manifest) {
		t.Errorf("%s: all is written: %v, and there is a manifest: %v\n%v", what, whole, manifest, r)
	}
	return tr.settle(t, what, r), true
}

// run runs a command, and tells at which operation the fault came; none if there are not so many.
func (f fault) run(t *testing.T, cmd *exec.Cmd, dir string, n int) (r result, at operation) {
	t.Helper()
	seen := 0
	r = supervise(t, cmd, dir, func(op operation) unix.Errno {
		if !f.reads && !op.changes() {
			return 0
		}
		if seen++; seen == n {
			at = op
		}
		if seen < n || seen > n && !f.forever {
			return 0
		}
		return f.err
	})
	return r, at
}

// TestFaultsOfRecover: whatever fails in a recover, the next one succeeds.
func TestFaultsOfRecover(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image, counts := tinyImage(t, bed.Dir(t)), &tally{}
	t.Run("recover", func(t *testing.T) {
		for _, f := range faults {
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				tr := newTrial(t, memoryDir(t, "64m"), image)
				half, log := tr.halfWay(t)
				for n := 1; ; n++ {
					copyImage(t, half, tr.image)
					copyImage(t, log, tr.log())
					r, at := f.run(t, tr.recovering(), tr.dir(), n)
					if at.n == 0 {
						r.expect(t, 0)
						break
					}
					o := tr.outcome(t)
					if o != untouched && (o != pending || r.code != 1) || r.code == 0 && at.changes() {
						t.Errorf("%v, %v: the image is %s:\n%v", f, at, o, r)
					}
					if o == pending {
						tr.recover(t)
					}
					counts.add(string(o))
				}
			})
		}
	})
	t.Logf("a fault in recover: %v", counts)
	counts.expect(t, string(untouched), string(pending))
}

// TestNoRoom: the file system of the image and its log has more and more room, page by page: for nothing at first, then
// for the log, at last for the new blocks too, which take the place of holes.
func TestNoRoom(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image := mke2fs(t, bed.Dir(t), 16, "-t", "ext4", "-b", "4096", "-I", "256", "-O", "^has_journal", "-N", "128")
	mounted(func(p *populator) {
		for i := range 40 {
			p.write(itoa(i), fmt.Append(nil, i))
		}
	})(t, image)
	tr, counts := newTrial(t, memoryDir(t, "64m"), image), &tally{}
	for pages := 0; ; pages++ {
		tr.reset(t)
		filler := fillBut(t, tr.dir(), pages)
		r := inPlace(t, tr.k, tr.image)
		os.Remove(filler)
		if r.code == 0 {
			break
		}
		where := "log"
		if strings.Contains(r.stderr, "write "+tr.image+":") {
			where = "image"
		}
		if !strings.Contains(r.stderr, "no space left") || !strings.Contains(r.stderr, "\nhint: ") {
			t.Errorf("with %d pages left:\n%v", pages, r)
		}
		if _, hidden := tr.sweep(t); len(hidden) > 0 {
			t.Errorf("with %d pages left, left behind: %v", pages, hidden)
		}
		counts.add(fmt.Sprintf("%s, no room in the %s", tr.settle(t, fmt.Sprint(pages, " pages left"), r), where))
	}
	t.Logf("no room: %v", counts)
	counts.expect(t, "as before, no room in the log", "as before, no room in the image")
}

// fillBut fills a file system but for so many pages.
func fillBut(t *testing.T, dir string, pages int) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, (int64(st.Bfree)-int64(pages))*st.Bsize), 0o600); err != nil {
		t.Fatal(err)
	}
	return filler
}
