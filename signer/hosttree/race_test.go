package hosttree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/signer"
)

// exchanger swaps two names over and over, until it is told to stop.
func exchanger(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-quit:
				done <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		close(quit)
		if err := <-done; err != nil {
			t.Errorf("exchanging %s and %s: %v", a, b, err)
		}
	}
}

// While somebody swaps a folder and a file for symbolic links that lead out of the
// tree, what lies outside is neither listed nor read nor labelled.
func TestSwappedUnderTheWalk(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"tree/d/f": "inside", "tree/d/sub/g": "inside", "tree/h": "inside",
		"out/f": "outside", "out/sub/g": "outside", "out/h": "outside",
	})
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Symlink("../out", path("tree/d2")), os.Symlink("../out/h", path("tree/h2"))); err != nil {
		t.Fatal(err)
	}
	key, _ := makeKey(t)
	key.KeepGoing = true
	defer exchanger(t, path("tree/d"), path("tree/d2"))()
	defer exchanger(t, path("tree/h"), path("tree/h2"))()
	listed, failed := 0, 0
	for range 200 {
		tree := open1(t, path("tree"))
		report, err := signer.Sign(t.Context(), tree, key)
		if err != nil {
			t.Fatal(err)
		}
		listed, failed = listed+report.Files, failed+len(report.Failures)
		for _, rec := range report.Records {
			if rec.File.Size == int64(len("outside")) {
				t.Fatalf("%s was listed", rec.File.Name())
			}
		}
		for _, f := range report.Failures {
			if !strings.HasPrefix(f.Path, path("tree")) {
				t.Fatalf("failure of %s", f.Path)
			}
		}
	}
	t.Logf("%d files listed, %d failures", listed, failed)
	if listed == 0 {
		t.Error("nothing was listed")
	}
	for _, name := range []string{"out/f", "out/sub/g", "out/h"} {
		if v, err := xattr.Get(path(name), ima.XattrName); err == nil {
			t.Errorf("%s has the label %x", name, v)
		}
	}
}
