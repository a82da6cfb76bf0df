package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallImage has files with attributes in all places, set by debugfs.
func smallImage(t testing.TB, args ...string) memory {
	t.Helper()
	dir, values := t.TempDir(), t.TempDir()
	for i, name := range []string{"plain", "body", "block", "both", "evm", "evm-block"} {
		if err := os.WriteFile(filepath.Join(dir, name), pattern(100*i, int64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := makeImage(t, dir, "2M", smallArgs(args)...)
	set := func(path, name string, n int) {
		file := filepath.Join(values, "v")
		if err := os.WriteFile(file, pattern(n, int64(n)), 0o644); err != nil {
			t.Fatal(err)
		}
		debugfs(t, img, fmt.Sprintf("ea_set -f %s %s %s", file, path, name))
	}
	set("/body", "user.small", 20)
	set("/block", "user.large", 400)
	set("/block", "user.another", 33)
	set("/both", "user.small", 30)
	set("/both", "user.large", 200)
	set("/evm", "security.evm", 20)
	set("/evm-block", "security.evm", 300)
	fsck(t, img)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func stage(t testing.TB, l *Listing, opt EditOptions, n int) *Edit {
	t.Helper()
	e, err := l.Edit(opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l.Files {
		if err := e.SetIMA(f.Inode.Number, pattern(n, int64(f.Inode.Number))); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func commit(t testing.TB, e *Edit, m memory) {
	t.Helper()
	if err := e.Commit(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(t.TempDir(), "after.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	fsck(t, img)
}

func xattrs(t testing.TB, fs *FS, path string) map[string]string {
	t.Helper()
	list, err := fs.Xattrs(lookup(t, fs, path))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, x := range list {
		out[x.Name] = string(x.Value)
	}
	return out
}

// TestOtherAttributesSurvive sets values of growing and shrinking size and
// looks whether all other attributes stay what they are.
func TestOtherAttributesSurvive(t *testing.T) {
	for _, size := range []string{"128", "256", "512", "1024"} {
		t.Run(size, func(t *testing.T) {
			m := smallImage(t, "-I", size)
			fs, l := mustCheck(t, m)
			before := map[string]map[string]string{}
			for _, f := range l.Files {
				before[f.Paths[0]] = xattrs(t, fs, f.Paths[0])
			}
			for _, n := range []int{70, 265, 30, 393, 265, 10} {
				_, l := mustCheck(t, m)
				commit(t, stage(t, l, EditOptions{DropEVM: true}, n), m)
				fs, _ := mustCheck(t, m)
				for path, want := range before {
					want = maps.Clone(want)
					delete(want, "security.evm")
					want["security.ima"] = string(pattern(n, int64(lookup(t, fs, path).Number)))
					if got := xattrs(t, fs, path); !maps.Equal(got, want) {
						t.Errorf("%s with a value of %d bytes: attributes are %q, expected %q", path, n, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
					}
				}
			}
		})
	}
}

func TestEVM(t *testing.T) {
	m := smallImage(t)
	fs, l := mustCheck(t, m)
	e, err := l.Edit(EditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetIMA(lookup(t, fs, "/evm").Number, []byte{3}); !errors.Is(err, ErrEVM) {
		t.Errorf("error is %v, expected ErrEVM", err)
	}
	if err := e.SetIMA(inoRoot, []byte{3}); err == nil {
		t.Error("a directory got a value")
	}
}

// TestTooLarge and the file system stays as it is.
func TestTooLarge(t *testing.T) {
	m := smallImage(t)
	before := bytes.Clone(m)
	_, l := mustCheck(t, m)
	err := stage(t, l, EditOptions{DropEVM: true}, 1000).Commit(context.Background(), m)
	if err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("error is %v", err)
	}
	if !bytes.Equal(before, m) {
		t.Error("the file system changed")
	}
}

func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	for i := range 500 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(makeImage(t, dir, "900", "-t", "ext2", "-b", "1024", "-N", "600", "-I", "128"))
	if err != nil {
		t.Fatal(err)
	}
	m := memory(b)
	before := bytes.Clone(m)
	fs, l := mustCheck(t, m)
	e := stage(t, l, EditOptions{}, 265)
	needed, free, err := e.NewBlocks()
	if err != nil || needed != 500 || free != fs.Info().FreeBlocks || free >= needed {
		t.Fatalf("needs %d of %d blocks: %v", needed, free, err)
	}
	var refused *RefusedError
	if err := e.Commit(context.Background(), m); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("error is %v", err)
	}
	if !bytes.Equal(before, m) {
		t.Error("the file system changed")
	}
}

// TestTimes sets ctime and i_version, or leaves both alone.
func TestTimes(t *testing.T) {
	m := smallImage(t)
	fs, l := mustCheck(t, m)
	plain := lookup(t, fs, "/plain")
	commit(t, stage(t, l, EditOptions{DropEVM: true}, 50), m)
	fs, l = mustCheck(t, m)
	if in := lookup(t, fs, "/plain"); !in.Ctime.Equal(plain.Ctime) || le.Uint32(in.raw[inVersionLo:]) != le.Uint32(plain.raw[inVersionLo:]) {
		t.Error("ctime or i_version changed")
	}
	for _, sec := range []int64{0, 1e9, -5, 1 << 31, 1<<33 + 1, maxTime, minTime} {
		now := time.Unix(sec, 999999999).UTC()
		version := le.Uint32(lookup(t, fs, "/plain").raw[inVersionLo:])
		commit(t, stage(t, l, EditOptions{Time: &now}, 50+int(sec&7)), m)
		fs, l = mustCheck(t, m)
		in := lookup(t, fs, "/plain")
		if !in.Ctime.Equal(now) || le.Uint32(in.raw[inVersionLo:]) != version+1 {
			t.Errorf("ctime is %v, expected %v; i_version is %d, was %d", in.Ctime, now, le.Uint32(in.raw[inVersionLo:]), version)
		}
		if !in.Mtime.Equal(plain.Mtime) || !in.Atime.Equal(plain.Atime) {
			t.Error("mtime or atime changed")
		}
	}
	tooLate := time.Unix(maxTime+1, 0)
	if _, err := l.Edit(EditOptions{Time: &tooLate}); err == nil {
		t.Error("accepted a time that no inode can hold")
	}
}

// TestDeterministic stages in two orders.
func TestDeterministic(t *testing.T) {
	a := smallImage(t, "-I", "128")
	b := memory(bytes.Clone(a))
	for _, m := range []memory{a, b} {
		_, l := mustCheck(t, m)
		e, err := l.Edit(EditOptions{DropEVM: true})
		if err != nil {
			t.Fatal(err)
		}
		numbers := []uint32{}
		for _, f := range l.Files {
			numbers = append(numbers, f.Inode.Number)
		}
		slices.Sort(numbers)
		if &m[0] == &b[0] {
			slices.Reverse(numbers)
		}
		for _, n := range numbers {
			if err := e.SetIMA(n, pattern(265, int64(n))); err != nil {
				t.Fatal(err)
			}
		}
		commit(t, e, m)
	}
	if !bytes.Equal(a, b) {
		t.Error("the order of staging shows in the result")
	}
}

// lyingDevice loses one write.
type lyingDevice struct {
	memory
	lose int
}

func (d *lyingDevice) WriteAt(p []byte, off int64) (int, error) {
	if d.lose--; d.lose == 0 {
		return len(p), nil
	}
	return d.memory.WriteAt(p, off)
}

// TestReadBack has a device lose each write in turn.
func TestReadBack(t *testing.T) {
	image := smallImage(t)
	writes := 0
	for lose := 1; ; lose++ {
		m := memory(bytes.Clone(image))
		_, l := mustCheck(t, m)
		d := &lyingDevice{m, lose}
		err := stage(t, l, EditOptions{DropEVM: true}, 265).Commit(context.Background(), d)
		if d.lose > 0 {
			if err != nil {
				t.Errorf("nothing was lost, and yet: %v", err)
			}
			writes = lose - 1
			break
		}
		if err == nil {
			t.Errorf("write %d was lost without a word", lose)
		}
	}
	if writes < 4 {
		t.Errorf("only %d writes", writes)
	}
}

// smallArgs makes ext4 unless another type is asked for.
func smallArgs(args []string) []string {
	kind := []string{"-t", "ext4"}
	if slices.Contains(args, "-t") {
		kind = nil
	}
	return slices.Concat(kind, []string{"-b", "1024", "-N", "64", "-O", "^has_journal,^resize_inode"}, args)
}
