package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A trial is an image that is signed in place, in a run to which something happens.
type trial struct {
	k             *key
	image         string
	before, after string // SHA-256 of the image, and of what it is to become
	saved         string // what it was, elsewhere
}

// newTrial puts a copy of an image into a folder.
func newTrial(t *testing.T, dir, image string) *trial {
	t.Helper()
	tr := &trial{k: defaultKey(t), saved: image, image: filepath.Join(dir, "disk.img")}
	copyImage(t, image, tr.image)
	tr.before = fileSum(t, tr.image)
	inPlace(t, tr.k, tr.image).expect(t, 0)
	tr.after = fileSum(t, tr.image)
	if tr.after == tr.before {
		t.Fatal("signing changed nothing")
	}
	tr.reset(t)
	return tr
}

// reset gives the image the bytes that it had.
func (tr *trial) reset(t *testing.T) {
	t.Helper()
	copyImage(t, tr.saved, tr.image)
}

func (tr *trial) log() string      { return tr.image + logSuffix }
func (tr *trial) manifest() string { return filepath.Join(tr.dir(), "manifest") }

// An outcome is what a run may leave.
type outcome string

const (
	untouched outcome = "as before" // and no log
	complete  outcome = "complete"  // and no log
	pending   outcome = "pending"   // there is a log, and recover is all that is accepted
	neither   outcome = "NEITHER AS BEFORE NOR COMPLETE, AND NO LOG"
)

// outcome looks at what a run has left.
func (tr *trial) outcome(t *testing.T) outcome {
	t.Helper()
	if exists(tr.log()) {
		return pending
	}
	switch fileSum(t, tr.image) {
	case tr.before:
		return untouched
	case tr.after:
		return complete
	}
	return neither
}

// recover brings back what was there, in one undisturbed run.
func (tr *trial) recover(t *testing.T) {
	t.Helper()
	if r := imagetool(t, "recover", tr.image); r.code != 0 {
		t.Errorf("recover failed:\n%v", r)
	}
	if o := tr.outcome(t); o != untouched {
		t.Errorf("after recover the image is %s", o)
	}
}

// settle judges a run that has ended by itself, and leaves the image as it was. All that an error may leave without a
// log is what was there before, or what was to be there if it says so: when the log is gone, but maybe not for good.
func (tr *trial) settle(t *testing.T, what string, r result) outcome {
	t.Helper()
	o := tr.outcome(t)
	good := map[outcome]bool{
		untouched: r.code == 1,
		complete:  r.code == 0 || r.code == 1 && strings.Contains(r.stderr, "is complete, but its undo log is not removed for good"),
		pending:   r.code == 1 && strings.Contains(r.stderr, "imagetool recover "+tr.image) && strings.Contains(r.stderr, tr.log()),
	}[o]
	if !good || r.code == 1 && !strings.HasPrefix(r.stderr, "error: ") || strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("%s: the image is %s:\n%v", what, o, r)
	}
	switch o {
	case pending:
		tr.recover(t)
	case complete, neither:
		tr.reset(t)
	}
	return o
}

// signing is the run, and recovering what follows it, with their operations in the same order each time.
func (tr *trial) signing() *exec.Cmd {
	return ordered("sign", "--quiet", "--jobs", "1", "--key", tr.k.private, tr.image, "--in-place", "--manifest", tr.manifest())
}

func (tr *trial) recovering() *exec.Cmd { return ordered("recover", "--quiet", tr.image) }

func ordered(args ...string) *exec.Cmd {
	cmd := bed.AsNobody("imagetool", args...)
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	return cmd
}

func (tr *trial) dir() string { return filepath.Dir(tr.image) }

// sweep removes what a run has left besides image and log, and tells what that was: the manifest, or hidden files.
func (tr *trial) sweep(t *testing.T) (manifest bool, hidden []string) {
	t.Helper()
	found, err := os.ReadDir(tr.dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		switch path := filepath.Join(tr.dir(), f.Name()); path {
		case tr.image, tr.log():
			continue
		case tr.manifest():
			manifest = true
		default:
			hidden = append(hidden, f.Name())
		}
		os.Remove(filepath.Join(tr.dir(), f.Name()))
	}
	return manifest, hidden
}
