package imagetool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
	"github.com/vmseal/vmseal/imagetool/output"
)

// TestCarriedBack: what was carried over to a container is taken back if what belongs to
// it cannot get its name.
func TestCarriedBack(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	if err := errors.Join(os.Mkdir(name("root"), 0o755), os.WriteFile(name("root/file"), []byte("text"), 0o644)); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "", "mke2fs", "-q", "-t", "ext4", "-d", name("root"), name("disk.raw"), "4M")
	disktest.Tool(t, "qemu-storage-daemon")
	disktest.Run(t, "", "qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=512", name("disk.raw"), name("disk.qcow2"))
	before := disktest.Sum(t, name("disk.qcow2"))
	held := 0
	sign := func(with ...*output.File) error {
		m, err := Open(t.Context(), name("disk.qcow2"), All, ForWriting)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		c, err := m.CarryInto(t.Context(), func() func() { held++; return func() { held-- } }, nil)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := c.Tree(fsys.EditOptions{})
		if err != nil {
			t.Fatal(c.Abort(err))
		}
		files, err := tree.Files(t.Context())
		if err == nil {
			err = tree.SetLabel(&files[0], make([]byte, 300))
		}
		if err == nil {
			err = tree.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(c.Abort(err))
		}
		if disktest.Sum(t, name("disk.qcow2")) != before {
			t.Error("the container was written to before Commit")
		}
		return c.Commit(t.Context(), with...)
	}
	list, err := output.Create(name("list"), 0o600, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name("list"), []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sign(list); !errors.Is(err, output.ErrExists) {
		t.Errorf("error %v", err)
	}
	if disktest.Sum(t, name("disk.qcow2")) != before {
		t.Error("the container is not as it was")
	}
	if err := sign(); err != nil || disktest.Sum(t, name("disk.qcow2")) == before {
		t.Errorf("nothing was carried over: %v", err)
	}
	if _, err := os.Stat(name("disk.qcow2.vmseal-undo")); !errors.Is(err, fs.ErrNotExist) || held != 0 {
		t.Errorf("the undo log: %v; signals are held %d times", err, held)
	}
	disktest.Run(t, "", "qemu-img", "check", "-q", name("disk.qcow2"))
}
