package output

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onlyNames fails unless the folder holds these files and nothing else.
func onlyNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("folder holds %q, want %q", got, want)
	}
}

func TestStageCommit(t *testing.T) {
	path := gptDisk(t)
	in := open(t, path)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.img")
	s := stage(t, in, out, false)
	part := secondOf(t, in)
	if _, err := part.On(s.Device()).WriteAt([]byte("changed"), part.Size-7); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	onlyNames(t, dir, "out.img")

	want, _ := os.ReadFile(path)
	copy(want[part.Start+part.Size-7:], "changed")
	got, _ := os.ReadFile(out)
	if !bytes.Equal(got, want) {
		t.Error("the output is not the input with the change")
	}
	var a, b unix.Stat_t
	unix.Stat(path, &a)
	unix.Stat(out, &b)
	if a.Mode != b.Mode {
		t.Errorf("mode %o became %o", a.Mode, b.Mode)
	}
	if b.Blocks*512 > 20*mib {
		t.Errorf("%d KiB allocated for an image that is mostly holes", b.Blocks/2)
	}
}

func TestDeviceBounds(t *testing.T) {
	in := open(t, gptDisk(t))
	s := stage(t, in, filepath.Join(t.TempDir(), "out"), false)
	part := secondOf(t, in)
	dev := part.On(s.Device())
	for _, off := range []int64{-1, part.Size - 3, part.Size + 1, 1 << 62} {
		if _, err := dev.WriteAt([]byte("1234"), off); err == nil {
			t.Errorf("a write at %d was let through", off)
		}
	}
	if n, err := dev.ReadAt(make([]byte, 8), part.Size-4); n != 4 || err == nil {
		t.Errorf("read %d bytes over the end, %v", n, err)
	}
}

func TestOutputRefused(t *testing.T) {
	path := extDisk(t)
	in := open(t, path)
	dir := filepath.Dir(path)
	name := func(s string) string { return filepath.Join(dir, s) }
	hard, soft, other := name("hard"), name("soft"), name("other")
	if err := errors.Join(os.Link(path, hard), os.Symlink(path, soft), os.WriteFile(other, nil, 0o600),
		os.Symlink("other", name("link")), os.Symlink("/dev/null", name("null")), os.Symlink("nothing", name("dangling"))); err != nil {
		t.Fatal(err)
	}
	// The new link changed the inode's ctime; the image is opened anew for that.
	in.Close()
	in = open(t, path)
	for _, c := range []struct {
		out   string
		force bool
		want  string
	}{
		{path, true, "is the input"},
		{hard, true, "is the input"},
		{soft, true, "is the input"},
		{other, false, "exists"},
		{name("link"), false, "is a symbolic link"},
		{name("link"), true, "is a symbolic link"},
		{name("null"), true, "is a symbolic link"},
		{name("dangling"), true, "is a symbolic link"},
		{"/dev/stdout", true, "is a symbolic link"},
		{"/dev/null", true, "not a regular file"},
		{dir, true, "not a regular file"},
		{dir + "/", true, "name of a folder"},
		{name("new") + "/", false, "name of a folder"},
		{name("missing/out"), false, "no such file"},
	} {
		if _, err := Stage(context.Background(), in, c.out, c.force, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.out, err, c.want)
		}
		if c.want == "is the input" {
			continue // only what is made from an image knows one
		}
		if _, err := Create(c.out, 0o600, c.force); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, alone: %v, want %q", c.out, err, c.want)
		}
	}
	onlyNames(t, dir, "dangling", "disk.img", "hard", "link", "null", "other", "soft")
}

func TestForce(t *testing.T) {
	in := open(t, extDisk(t))
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stage(t, in, out, true).Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sum(t, out) != sum(t, in.Name()) {
		t.Error("the output was not replaced")
	}
	onlyNames(t, dir, "out")
}

// TestRace: what appears at the output's name during the work stays.
func TestRace(t *testing.T) {
	in := open(t, extDisk(t))
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	s := stage(t, in, out, false)
	if err := os.WriteFile(out, []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(context.Background()); !errors.Is(err, ErrExists) {
		t.Errorf("error %v", err)
	}
	if got, _ := os.ReadFile(out); string(got) != "somebody else's" {
		t.Errorf("it holds %q", got)
	}
	onlyNames(t, dir, "out")
}

func TestInputChanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"time":     func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) },
		"size":     func(p string) error { return os.Truncate(p, 9*mib) },
		"mode":     func(p string) error { return os.Chmod(p, 0o604) }, // ctime only
		"replaced": func(p string) error { return errors.Join(os.Rename(p, p+"-"), os.WriteFile(p, nil, 0o600)) },
		"removed":  os.Remove,
		"folder replaced": func(p string) error { // the inode stays as it was
			dir := filepath.Dir(p)
			return errors.Join(os.Rename(dir, dir+"-"), os.Mkdir(dir, 0o700), os.WriteFile(p, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := open(t, extDisk(t))
			dir := t.TempDir()
			s := stage(t, in, filepath.Join(dir, "out"), false)
			if err := change(in.Name()); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(context.Background()); err == nil {
				t.Error("committed")
			}
			onlyNames(t, dir)
		})
	}
}

func TestCancelled(t *testing.T) {
	in := open(t, extDisk(t))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Stage(ctx, in, filepath.Join(dir, "out"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v", err)
	}
	if _, err := Stage(ctx, in, filepath.Join(dir, "out"), false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Stage: %v", err)
	}
	onlyNames(t, dir)
}

// TestFullDisk copies onto a small tmpfs.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	path := sparse(t, 8*mib)
	run(t, "", "mke2fs", "-q", "-F", path)
	poke(t, path, 4*mib, bytes.Repeat([]byte("x"), 3*mib))
	in := open(t, path)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		unavailable(t, "mounting tmpfs: "+err.Error())
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	_, err := Stage(context.Background(), in, filepath.Join(dir, "out"), false, nil)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "copying") {
		t.Errorf("error %v", err)
	}
	onlyNames(t, dir)
}
