package output

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/hostfile"
)

// twoOutputs makes an image and its manifest, in folders of their own.
func twoOutputs(t *testing.T, force bool) (image, list *File) {
	t.Helper()
	var made []*File
	for _, name := range []string{"image", "list"} {
		o, err := Create(filepath.Join(t.TempDir(), name), 0o600, force)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Abort() })
		if _, err := o.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		made = append(made, o)
	}
	return made[0], made[1]
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCommitBoth(t *testing.T) {
	for _, force := range []bool{false, true} {
		image, list := twoOutputs(t, force)
		if force {
			put(t, image.path, "old")
			put(t, list.path, "old")
		}
		if err := Commit(nil, image, list); err != nil {
			t.Fatal(err)
		}
		for _, o := range []*File{image, list} {
			onlyNames(t, filepath.Dir(o.path), filepath.Base(o.path))
			if got := string(data(t, o.path)); got != "new" {
				t.Errorf("%s holds %q", o.path, got)
			}
		}
	}
}

// TestCommitNone lets the second of two outputs fail when the first one has its
// name already.
func TestCommitNone(t *testing.T) {
	image, list := twoOutputs(t, false)
	put(t, list.path, "somebody else's")
	if err := Commit(nil, image, list); !errors.Is(err, ErrExists) {
		t.Errorf("error %v", err)
	}
	onlyNames(t, filepath.Dir(image.path))
	onlyNames(t, filepath.Dir(list.path), "list")

	image, list = twoOutputs(t, false)
	broken := errors.New("broken")
	if err := Commit(func() error { return broken }, image, list); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	onlyNames(t, filepath.Dir(image.path))
	onlyNames(t, filepath.Dir(list.path))
}

// TestCommitReplaced: what was replaced cannot be had back, so the new file stays
// and the error tells it.
func TestCommitReplaced(t *testing.T) {
	image, list := twoOutputs(t, true)
	put(t, image.path, "old")
	if err := os.Mkdir(list.path, 0o700); err != nil { // no file takes its place
		t.Fatal(err)
	}
	if err := Commit(nil, image, list); err == nil || !strings.Contains(err.Error(), image.path+" has been replaced already") {
		t.Errorf("error %v", err)
	}
	onlyNames(t, filepath.Dir(image.path), "image")
	if got := string(data(t, image.path)); got != "new" {
		t.Errorf("the image holds %q", got)
	}
	onlyNames(t, filepath.Dir(list.path), "list")
}

// TestUndoLogStays has an output be given the name of an undo log, which is not to be replaced, nor to be taken for one.
func TestUndoLogStays(t *testing.T) {
	for _, force := range []bool{false, true} {
		log := filepath.Join(t.TempDir(), "disk.img"+hostfile.UndoSuffix)
		if force {
			put(t, log, "old bytes")
		}
		if o, err := Create(log, 0o600, force); err == nil || !strings.Contains(err.Error(), "undo log") {
			o.Abort()
			t.Errorf("with force %t: error %v", force, err)
		}
	}
}

// TestOutputOverLoop has the file of a loop device be what an output replaces.
func TestOutputOverLoop(t *testing.T) {
	path := extDisk(t)
	dev := loop(t, path)
	o, err := Create(path, 0o600, true)
	if e, ok := errors.AsType[*hostfile.InUseError](err); !ok || e.Holder != dev {
		o.Abort()
		t.Errorf("error %v", err)
	}
}
