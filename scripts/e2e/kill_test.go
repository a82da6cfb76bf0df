package e2e

import (
	"errors"
	"fmt"
	"math/rand"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// killAt runs a command and kills it instead of its n-th operation that chosen picks. It reports whether there is such a
// one.
func killAt(t *testing.T, cmd *exec.Cmd, dir string, n int, chosen func(operation) bool) (hit bool) {
	t.Helper()
	seen := 0
	r := supervise(t, cmd, dir, func(op operation) unix.Errno {
		if !hit && chosen(op) {
			seen++
			hit = seen == n
		}
		if !hit {
			return 0
		}
		cmd.Process.Kill()
		return unix.EINTR // should the thread see this before it dies
	})
	if !hit {
		r.expect(t, 0)
	}
	return hit
}

// halfWay returns copies of the image and its log from the middle of a commit, and leaves the two as well: all but the
// last of the inodes are written.
func (tr *trial) halfWay(t *testing.T) (image, log string) {
	t.Helper()
	writes := func(op operation) bool { return op.name == "pwrite64" && op.path == tr.image }
	if !killAt(t, tr.signing(), tr.dir(), 6, writes) || tr.outcome(t) != pending || fileSum(t, tr.image) == tr.before {
		t.Fatal("the image is not half changed")
	}
	tr.sweep(t)
	dir := bed.Dir(t)
	return copyImage(t, tr.image, filepath.Join(dir, "half.img")), copyImage(t, tr.log(), filepath.Join(dir, "log"))
}

// TestKilledAtEachOperation kills a run before each of its operations, and recover after it before each of its own.
func TestKilledAtEachOperation(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	tr, counts := newTrial(t, memoryDir(t, "64m"), tinyImage(t, bed.Dir(t))), &tally{}
	changes, kills, elsewhere := operation.changes, 0, bed.Dir(t)
	for n := 1; killAt(t, tr.signing(), tr.dir(), n, changes); n++ {
		tr.sweep(t)
		counts.add(string(tr.outcome(t)))
		switch tr.outcome(t) {
		case complete:
			tr.reset(t)
		case neither:
			t.Fatalf("killed before change %d: the image is %s", n, neither)
		case pending:
			half, log := copyImage(t, tr.image, filepath.Join(elsewhere, "half")), copyImage(t, tr.log(), filepath.Join(elsewhere, "log"))
			for m := 1; killAt(t, tr.recovering(), tr.dir(), m, changes); m++ {
				kills++
				if o := tr.outcome(t); o == pending {
					tr.recover(t)
				} else if o != untouched {
					t.Errorf("sign killed before change %d, recover before change %d: the image is %s", n, m, o)
				}
				copyImage(t, half, tr.image)
				copyImage(t, log, tr.log())
			}
			if o := tr.outcome(t); o != untouched {
				t.Errorf("killed before change %d, and recovered: the image is %s", n, o)
			}
		}
	}
	t.Logf("killed before each change: %v; recover killed as often as %d times", counts, kills)
	counts.expect(t, string(untouched), string(pending), string(complete))
}

// TestKilledAtRandom kills runs that take a while, at moments that nobody has chosen: some anywhere in the run, the
// others from when the log has appeared, until fifty of these were caught half way and recovered.
func TestKilledAtRandom(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image := manyFiles(t, bed.Dir(t), 10_000)
	counts := &tally{}
	t.Run("each", func(t *testing.T) {
		for lane := range 2 {
			t.Run(itoa(lane), func(t *testing.T) {
				t.Parallel()
				tr := newTrial(t, memoryDir(t, "256m"), image)
				whole, commit := tr.durations(t)
				t.Logf("a run takes %v, its commit %v", whole, commit)
				rnd := rand.New(rand.NewSource(time.Now().UnixNano()))
				for range 8 {
					tr.killRandomly(t, rnd, counts, "anywhere", 0, whole)
				}
				// Some of the runs are over before they are killed: those do not count.
				recovered := 0
				for tries := 0; recovered < 25 && tries < 100; tries++ {
					if tr.killRandomly(t, rnd, counts, "once the log is there", unix.IN_MOVED_TO, commit) == pending {
						recovered++
					}
				}
				if recovered < 25 {
					t.Errorf("only %d runs were killed half way", recovered)
				}
			})
		}
	})
	t.Logf("kills of a run that changes 10,000 files: %v", counts)
	counts.expect(t, "once the log is there: "+string(pending))
}

// durations are those of an undisturbed run and of its commit.
func (tr *trial) durations(t *testing.T) (whole, commit time.Duration) {
	t.Helper()
	await := watchFolder(t, tr.dir(), unix.IN_MOVED_TO|unix.IN_DELETE)
	cmd := bed.AsNobody("imagetool", "sign", "--key", tr.k.private, tr.image, "--in-place")
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err := await(unix.IN_MOVED_TO)
	named := time.Now()
	err = errors.Join(err, await(unix.IN_DELETE))
	commit = time.Since(named)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	whole = time.Since(start)
	tr.reset(t)
	return whole, commit
}

// killRandomly kills a run within a span from its start, or from an event in its folder. It kills recover, too. What the
// image was then, before it got its bytes back, it returns.
func (tr *trial) killRandomly(t *testing.T, rnd *rand.Rand, counts *tally, when string, event uint32, span time.Duration) outcome {
	t.Helper()
	await := watchFolder(t, tr.dir(), unix.IN_MOVED_TO)
	cmd := bed.AsNobody("imagetool", "sign", "--key", tr.k.private, tr.image, "--in-place")
	killSoon(t, cmd, rnd, span, func() error {
		if event == 0 {
			return nil
		}
		return await(event)
	})
	_, hidden := tr.sweep(t)
	o := tr.outcome(t)
	counts.add(when + ": " + string(o))
	switch {
	case o == neither || len(hidden) > 1:
		t.Fatalf("killed %s: the image is %s, and besides there is %v", when, o, hidden)
	case o == complete:
		tr.reset(t)
	case o == pending:
		for range rnd.Intn(3) {
			killSoon(t, bed.AsNobody("imagetool", "recover", tr.image), rnd, span, func() error { return nil })
			counts.add("recover: " + string(tr.outcome(t)))
			if tr.outcome(t) == untouched {
				return o
			}
		}
		tr.recover(t)
	}
	return o
}

// killSoon starts a command and kills it within the span from when the event has come.
func killSoon(t *testing.T, cmd *exec.Cmd, rnd *rand.Rand, span time.Duration, event func() error) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err := event()
	time.Sleep(time.Duration(rnd.Int63n(int64(span)))) // no event is waited for: any moment will do
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// manyFiles makes an image whose commit writes a block for each of its files, all over it. Its contents are few, since it is not
// about the key.
func manyFiles(t *testing.T, dir string, files int) string {
	t.Helper()
	image := mke2fs(t, dir, 48, "-t", "ext4", "-b", "1024", "-N", "12000")
	mounted(func(p *populator) {
		for i := range files {
			p.write(fmt.Sprintf("%d/%d", i%100, i), fmt.Append(nil, i%50))
		}
	})(t, image)
	return image
}
