package hosttree

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/signer"
)

// mount mounts for the time of the test.
func mount(t *testing.T, source, target, fstype string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		cannot(t, "mounting "+fstype+": "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Errorf("unmounting %s: %v", target, err)
		}
	})
}

// No mount is entered: not another file system, nor a bind mount of the same
// one, nor one on a file.
func TestMountBoundary(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"tree/a": "", "tree/file": "", "tree/tmpfs/below": "", "tree/bind/below": "", "other/x": ""})
	mount(t, "none", dir+"/tree/tmpfs", "tmpfs", 0)
	write(t, dir, map[string]string{"tree/tmpfs/x": ""})
	mount(t, dir+"/other", dir+"/tree/bind", "", unix.MS_BIND)
	mount(t, dir+"/other/x", dir+"/tree/file", "", unix.MS_BIND)

	tree := open1(t, dir+"/tree")
	if got := names(t, tree, dir+"/tree"); !slices.Equal(got, []string{"/a"}) {
		t.Errorf("files %q", got)
	}
	want := []string{dir + "/tree/bind", dir + "/tree/file", dir + "/tree/tmpfs"}
	if got := tree.Boundaries(); !slices.Equal(got, want) {
		t.Errorf("boundaries %q, want %q", got, want)
	}
}

// A file that is named is its own root, even where it is a mount.
func TestNamedMount(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"file": "below", "tmpfs/x": ""})
	mount(t, "none", dir+"/tmpfs", "tmpfs", 0)
	write(t, dir, map[string]string{"tmpfs/x": "mounted"})
	mount(t, dir+"/tmpfs/x", dir+"/file", "", unix.MS_BIND)

	tree := open1(t, dir+"/file")
	files := list(t, tree)
	if len(files) != 1 || len(tree.Boundaries()) > 0 {
		t.Fatalf("files %v, boundaries %q", files, tree.Boundaries())
	}
	r, err := tree.Open(&files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "mounted" || err != nil {
		t.Errorf("contents %q, %v", b, err)
	}
	if err := errors.Join(tree.SetLabel(&files[0], []byte{1}), tree.Commit(t.Context())); err != nil {
		t.Error(err)
	}
	if value, err := xattr.LGet(dir+"/tmpfs/x", ima.XattrName); !bytes.Equal(value, []byte{1}) {
		t.Errorf("label %x, %v", value, err)
	}
}

// What was named and is gone when it is looked at is told.
func TestNamedGone(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"file": "", "d/below": ""})
	for _, name := range []string{"/file", "/d"} {
		tree := open1(t, dir+name)
		if err := os.RemoveAll(dir + name); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Files(t.Context()); !errors.Is(err, unix.ENOENT) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A mount that appears over a listed file is not entered either.
func TestMountedLater(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"tree/d/a": "same", "other/a": "same"})
	tree := open1(t, dir+"/tree")
	f := &list(t, tree)[0]
	mount(t, dir+"/other", dir+"/tree/d", "", unix.MS_BIND)
	if r, err := tree.Open(f); !errors.Is(err, unix.EXDEV) {
		t.Errorf("%v, %v", r, err)
	}
}

// The root may be a mount point itself.
func TestReadOnlyMount(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	mount(t, "none", dir, "tmpfs", 0)
	write(t, dir, map[string]string{"a": "1"})
	if err := unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	tree := open1(t, dir)
	err := tree.SetLabel(&list(t, tree)[0], []byte{1})
	if _, ok := errors.AsType[*signer.FatalError](err); !ok || !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
}

// A root that cannot be written to is told of by its files, beside the labels of
// the others. A run in which nothing can be set ends at once.
func TestReadOnlyRoots(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		write(t, dir, map[string]string{name + "/below": ""})
		mount(t, "none", dir+"/"+name, "tmpfs", 0)
		write(t, dir, map[string]string{name + "/1": name, name + "/2": name})
	}
	for _, name := range []string{"a", "c"} {
		if err := unix.Mount("none", dir+"/"+name, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
	opt, _ := makeKey(t)
	opt.KeepGoing = true
	r, err := signer.Sign(t.Context(), open1(t, dir+"/a", dir+"/b", dir+"/c"), opt)
	if err != nil {
		t.Fatal(err)
	}
	if r.Signed != 2 || r.Failed != 4 || len(r.Failures) != 4 || !errors.Is(r.Failures[0], unix.EROFS) {
		t.Errorf("%+v", r)
	}
	r, err = signer.Sign(t.Context(), open1(t, dir+"/a", dir+"/c"), opt)
	if _, ok := errors.AsType[*signer.FatalError](err); !ok || !errors.Is(err, unix.EROFS) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A root that takes no more labels after some does not keep those from being told.
func TestReadOnlyLater(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	mount(t, "none", dir, "tmpfs", 0)
	write(t, dir, map[string]string{"1": "", "2": ""})
	tree := open1(t, dir)
	files := list(t, tree)
	if err := tree.SetLabel(&files[0], []byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err := tree.SetLabel(&files[1], []byte{1})
	if _, ok := errors.AsType[*signer.FatalError](err); ok || !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
}

// ramfs has no attributes at all: that is no fault of a single file.
func TestNoAttributes(t *testing.T) {
	dir := t.TempDir()
	mount(t, "none", dir, "ramfs", 0)
	write(t, dir, map[string]string{"a": "1"})
	tree := open1(t, dir)
	f := &list(t, tree)[0]
	if _, err := tree.Label(f); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Label: %v", err)
	}
	if err := tree.SetLabel(f, []byte{1}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("SetLabel: %v", err)
	}
}
