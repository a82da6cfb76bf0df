package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestPending: while there is an undo log, no command has anything to do with the image, and each names the one that has.
func TestPending(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	dir := memoryDir(t, "64m")
	other := tinyImage(t, bed.Dir(t))
	tr := newTrial(t, dir, other)
	half, log := tr.halfWay(t)
	out := filepath.Join(bed.Dir(t), "out")
	link := filepath.Join(bed.Dir(t), "link.img")
	if err := os.Symlink(tr.image, link); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"inspect":          {"inspect", tr.image},
		"inspect-json":     {"inspect", "--json", tr.image},
		"link":             {"inspect", link},
		"ls":               {"ls", tr.image, "/"},
		"cat":              {"cat", tr.image, "/0"},
		"xattr":            {"xattr", tr.image, "/0"},
		"verify":           {"verify", "--trust", tr.k.public, tr.image},
		"diff-old":         {"diff", tr.image, other},
		"diff-new":         {"diff", other, tr.image},
		"profile":          {"profile", "--key", tr.k.private, "--policy", policyFile(t, bed.Dir(t)), tr.image, "--out", out},
		"sign":             {"sign", "--key", tr.k.private, tr.image, "--out", out},
		"sign-dry-run":     {"sign", "--key", tr.k.private, tr.image, "--dry-run"},
		"sign-in-place":    {"sign", "--key", tr.k.private, tr.image, "--in-place"},
		"sign-over-it":     {"sign", "--key", tr.k.private, other, "--out", tr.image, "--force"},
		"reuse":            {"sign", "--key", tr.k.private, other, "--out", out, "--reuse", tr.image},
		"manifest-over-it": {"sign", "--key", tr.k.private, other, "--out", out, "--manifest", tr.image, "--force"},
	} {
		t.Run(name, func(t *testing.T) {
			r := imagetool(t, args...).expect(t, 1)
			if !strings.Contains(r.stderr, "'imagetool recover ") || !strings.Contains(r.stderr, tr.log()) || r.stdout != "" && name != "inspect-json" {
				t.Errorf("it does not name recover and the log:\n%v", r)
			}
			expectSame(t, "the image before and after", half, tr.image)
			expectSame(t, "the log before and after", log, tr.log())
			expectOnly(t, dir, "disk.img", "disk.img"+logSuffix)
			expectOnly(t, filepath.Dir(out))
		})
	}
	t.Run("hard-link", func(t *testing.T) { // has no log beside it, but a file system that is not clean
		second := filepath.Join(dir, "second.img")
		if err := os.Link(tr.image, second); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(second)
		imagetool(t, "verify", "--trust", tr.k.public, second).expect(t, 1)
		inPlace(t, tr.k, second).expect(t, 1)
	})
	t.Run("new-image-beside-an-old-log", func(t *testing.T) { // it would be taken for the one of the log
		stale := filepath.Join(filepath.Dir(out), "new.img")
		copyImage(t, log, stale+logSuffix)
		defer os.Remove(stale + logSuffix)
		r := imagetool(t, "sign", "--key", tr.k.private, other, "--out", stale).expect(t, 1)
		if !strings.Contains(r.stderr, stale+logSuffix) || exists(stale) {
			t.Errorf("the log is not named:\n%v", r)
		}
	})
	t.Run("recover", func(t *testing.T) {
		r := imagetool(t, "recover", "--json", link).expect(t, 0)
		if o := jsonLines(t, r.stdout)[0]; o["type"] != "recovery" || o["log"] != tr.log() || o["changed"].(float64) < 3 {
			t.Errorf("recover says %v", o)
		}
		if o := tr.outcome(t); o != untouched {
			t.Errorf("the image is %s", o)
		}
		expectOnly(t, dir, "disk.img")
		imagetool(t, "recover", tr.image).expect(t, 1)
	})
}

// TestInPlacePlaces: where an image in place and its log can lie, and where not.
func TestInPlacePlaces(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image, k := tinyImage(t, bed.Dir(t)), defaultKey(t)
	place := func(t *testing.T) (dir, disk string) {
		dir = bed.Dir(t)
		return dir, copyImage(t, image, filepath.Join(dir, "disk.img"))
	}
	refused := func(t *testing.T, disk string, want string) {
		t.Helper()
		r := inPlace(t, k, disk).expect(t, 1)
		if !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "\nhint: ") {
			t.Errorf("want %q and a hint:\n%v", want, r)
		}
		expectSame(t, "the image before and after", image, disk)
	}
	t.Run("symbolic-link", func(t *testing.T) {
		tr := newTrial(t, memoryDir(t, "64m"), image)
		link := filepath.Join(bed.Dir(t), "link.img")
		if err := os.Symlink(tr.image, link); err != nil {
			t.Fatal(err)
		}
		inPlace(t, k, link).expect(t, 0)
		if o := tr.outcome(t); o != complete {
			t.Errorf("the image is %s", o)
		}
		expectOnly(t, filepath.Dir(link), "link.img")
		expectOnly(t, tr.dir(), "disk.img")
	})
	t.Run("folder-not-writable", func(t *testing.T) {
		dir, disk := place(t)
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		refused(t, disk, dir)
		expectOnly(t, dir, "disk.img")
	})
	t.Run("image-not-writable", func(t *testing.T) {
		dir, disk := place(t)
		if err := os.Chmod(disk, 0o444); err != nil {
			t.Fatal(err)
		}
		refused(t, disk, disk)
		expectOnly(t, dir, "disk.img")
	})
	t.Run("image-of-somebody-else", func(t *testing.T) { // who lets us write: no lease then, but locks
		dir, disk := place(t)
		if err := os.Chown(disk, 4711, 4711); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(disk, 0o666); err != nil {
			t.Fatal(err)
		}
		inPlace(t, k, disk).expect(t, 0)
		expectOnly(t, dir, "disk.img")
		fsck(t, disk)
	})
	t.Run("recover-not-writable", func(t *testing.T) {
		tr := newTrial(t, memoryDir(t, "64m"), image)
		half, _ := tr.halfWay(t)
		for _, path := range []string{tr.image, tr.dir()} {
			if err := os.Chmod(path, 0o555); err != nil {
				t.Fatal(err)
			}
			r := imagetool(t, "recover", tr.image).expect(t, 1)
			if !strings.Contains(r.stderr, path) || !strings.Contains(r.stderr, "\nhint: ") || !exists(tr.log()) {
				t.Errorf("want a word of %s and a hint:\n%v", path, r)
			}
			if path == tr.image {
				expectSame(t, "the image before and after", half, tr.image)
			}
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		tr.recover(t)
	})
}
