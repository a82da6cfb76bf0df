package hosttree

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer"
)

// write makes files with their directories.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func open1(t *testing.T, paths ...string) *Tree {
	t.Helper()
	tree, err := Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

func list(t *testing.T, tree *Tree) []signer.File {
	t.Helper()
	files, err := tree.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// names gives all paths of the tree below dir, sorted.
func names(t *testing.T, tree *Tree, dir string) []string {
	t.Helper()
	var all []string
	for _, f := range list(t, tree) {
		for _, p := range f.Paths {
			all = append(all, strings.TrimPrefix(p, dir))
		}
	}
	slices.Sort(all)
	return all
}

// cannot skips, or fails where nothing may be left out.
func cannot(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func needLabels(t *testing.T) {
	t.Helper()
	f := filepath.Join(t.TempDir(), "f")
	write(t, filepath.Dir(f), map[string]string{"f": ""})
	if err := xattr.LSet(f, ima.XattrName, []byte{1}); err != nil {
		cannot(t, "security.ima cannot be set: "+err.Error())
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("n", 255)
	write(t, dir, map[string]string{"a": "1", "d/b": "22", "d/e/c": "", "d/e/\xff\n": "x", "d/" + long: "long"})
	for _, err := range []error{
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "d/e/hard")),
		os.Symlink("a", filepath.Join(dir, "link")),
		os.Symlink("/etc", filepath.Join(dir, "d/etc")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.Mkdir(filepath.Join(dir, "empty"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tree := open1(t, dir)
	want := []string{"/a", "/d/b", "/d/e/c", "/d/e/hard", "/d/e/\xff\n", "/d/" + long}
	slices.Sort(want)
	if got := names(t, tree, dir); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, f := range list(t, tree) {
		var st unix.Stat_t
		if err := unix.Lstat(f.Paths[0], &st); err != nil {
			t.Fatal(err)
		}
		if f.Inode != st.Ino || f.Size != st.Size || f.Mode != st.Mode || f.UID != st.Uid || f.GID != st.Gid || uint64(f.Links) != st.Nlink {
			t.Errorf("%+v, but lstat says %+v", f, st)
		}
	}
	if got := tree.Rooted([]string{filepath.Join(dir, "d/b")}); got[0] != "/d/b" {
		t.Errorf("rooted %q", got)
	}
}

// Several paths may overlap, and be files.
func TestSeveralRoots(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "1", "d/b": "2", "d/c": "3"})
	tree := open1(t, dir+"/d", dir+"/d/b", dir+"/./a/")
	if got := names(t, tree, dir); !slices.Equal(got, []string{"/a", "/d/b", "/d/c"}) {
		t.Errorf("%q", got)
	}
}

func TestRootNames(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"d/b": "2"})
	t.Chdir(dir)
	for root, want := range map[string]string{".": "d/b", "d": "d/b", "./d/": "d/b", dir + "/d/b": dir + "/d/b", "d/b": "d/b"} {
		tree := open1(t, root)
		if got := names(t, tree, ""); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", root, got, want)
		}
	}
	tree := open1(t, ".")
	if got := tree.Rooted([]string{"d/b"}); got[0] != "/d/b" {
		t.Errorf("rooted %q", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"d/b": "2"})
	if err := os.Symlink("d", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"": "empty path", "/link": "symbolic link", "/link/": "symbolic link", "/fifo": "neither", "/missing": "no such file",
	} {
		if path != "" {
			path = dir + path
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
}

// Whatever takes the place of a file after it was listed is not touched.
func TestReplaced(t *testing.T) {
	swaps := map[string]func(file, outside string) error{
		"gone":    func(file, _ string) error { return os.Remove(file) },
		"symlink": func(file, outside string) error { return errors.Join(os.Remove(file), os.Symlink(outside, file)) },
		"fifo":    func(file, _ string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) },
		"directory": func(file, _ string) error {
			return errors.Join(os.Remove(file), os.Mkdir(file, 0o700))
		},
		"other file": func(file, _ string) error {
			return errors.Join(os.WriteFile(file+".new", []byte("content"), 0o600), os.Rename(file+".new", file))
		},
		"hard link": func(file, outside string) error { return errors.Join(os.Remove(file), os.Link(outside, file)) },
		"parent is a symlink": func(file, outside string) error {
			d := filepath.Dir(file)
			return errors.Join(os.Rename(d, d+".old"), os.Symlink(filepath.Dir(outside), d))
		},
		"written to": func(file, _ string) error { return os.WriteFile(file, []byte("other contents"), 0o600) },
		"parent moved out": func(file, outside string) error {
			return os.Rename(filepath.Dir(file), filepath.Join(filepath.Dir(outside), "moved"))
		},
	}
	for name, swap := range swaps {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			outside := filepath.Join(dir, "outside", "file")
			write(t, dir, map[string]string{"tree/d/file": "content", "outside/file": "content"})
			tree := open1(t, filepath.Join(dir, "tree"))
			f := &list(t, tree)[0]
			if err := swap(f.Paths[0], outside); err != nil {
				t.Fatal(err)
			}
			if r, err := tree.Open(f); !errors.Is(err, ErrChanged) {
				t.Errorf("Open: %v, %v", r, err)
			}
			if v, err := tree.Label(f); !errors.Is(err, ErrChanged) {
				t.Errorf("Label: %x, %v", v, err)
			}
			if err := tree.SetLabel(f, []byte{1}); !errors.Is(err, ErrChanged) {
				t.Errorf("SetLabel: %v", err)
			}
			for _, path := range []string{outside, f.Paths[0]} {
				if v, err := xattr.LGet(path, ima.XattrName); err == nil {
					t.Errorf("%s has the label %x", path, v)
				}
			}
		})
	}
}

func TestContents(t *testing.T) {
	dir := t.TempDir()
	want := strings.Repeat("0123456789", 100_000)
	write(t, dir, map[string]string{"f": want})
	tree := open1(t, dir)
	r, err := tree.Open(&list(t, tree)[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || string(got) != want {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestLabel(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"f": "content"})
	tree := open1(t, dir)
	f := &list(t, tree)[0]
	if v, err := tree.Label(f); v != nil || err != nil {
		t.Errorf("no label: %x, %v", v, err)
	}
	want := bytes.Repeat([]byte{0, 1, 255}, 100)
	if err := tree.SetLabel(f, want); err != nil {
		t.Fatal(err)
	}
	if got, err := xattr.LGet(f.Paths[0], ima.XattrName); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%x, %v", got, err)
	}
	if err := tree.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	// Setting it changed the inode, so the file has to be listed again.
	f = &list(t, tree)[0]
	if got, err := tree.Label(f); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%x, %v", got, err)
	}
}

func TestImmutable(t *testing.T) {
	needLabels(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"f": "content"})
	path := filepath.Join(dir, "f")
	if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
		cannot(t, "chattr +i: "+err.Error()+": "+string(out))
	}
	defer func() {
		if out, err := exec.Command("chattr", "-i", path).CombinedOutput(); err != nil {
			t.Errorf("chattr -i: %v: %s", err, out)
		}
	}()
	tree := open1(t, dir)
	if err := tree.SetLabel(&list(t, tree)[0], []byte{1}); !errors.Is(err, ErrImmutable) {
		t.Error(err)
	}
}

func TestUnreadableDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "", "d/b": ""})
	w := &walk{ctx: t.Context(), byInode: map[inode]int{}}
	tree := open1(t, dir)
	// A name longer than the system allows fails for root too.
	if err := w.dir(tree.roots[0], strings.Repeat("x/", 3000), nil); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		t.Log("as root every directory can be read: permissions are left out")
		return
	}
	if err := os.Chmod(dir+"/d", 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir+"/d", 0o700)
	files, err := tree.Files(t.Context())
	inc, ok := errors.AsType[*signer.IncompleteError](err)
	if !ok || len(inc.Failures) != 1 || inc.Failures[0].Path != dir+"/d" || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tree := open1(t, t.TempDir())
	if _, err := tree.Files(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSignAndEvmctl signs a tree, compares each value with evmctl's and lets
// evmctl verify it.
func TestSignAndEvmctl(t *testing.T) {
	needLabels(t)
	if _, err := exec.LookPath("evmctl"); err != nil {
		cannot(t, err.Error())
	}
	key, keyFiles := makeKey(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"a": "1", "b": "", "d/e/c": strings.Repeat("large", 1<<18), "d/same": "1", "d/s p a c e": "s", "d/\xfe": "f",
	})
	tree := open1(t, dir)
	report, err := signer.Sign(t.Context(), tree, key)
	if err != nil || report.Signed != 6 || report.Signatures != 5 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, rec := range report.Records {
		path := rec.File.Name()
		ours, err := xattr.LGet(path, ima.XattrName)
		if err != nil || !bytes.Equal(ours, rec.Value) {
			t.Errorf("%q: label %x, %v", path, ours, err)
		}
		if out, err := exec.Command("evmctl", "ima_verify", "-k", keyFiles+"/cert.der", path).CombinedOutput(); err != nil {
			t.Errorf("evmctl ima_verify %q: %v: %s", path, err, out)
		}
		if out, err := exec.Command("evmctl", "ima_sign", "-a", "sha256", "-k", keyFiles+"/private.pem", path).CombinedOutput(); err != nil {
			t.Fatalf("evmctl ima_sign %q: %v: %s", path, err, out)
		}
		if theirs, err := xattr.LGet(path, ima.XattrName); err != nil || !bytes.Equal(theirs, ours) {
			t.Errorf("%q: ours   %x\n theirs %x %v", path, ours, theirs, err)
		}
	}
	if report, err = signer.Sign(t.Context(), tree, key); err != nil || report.Kept != 6 {
		t.Errorf("again: %+v, %v", report, err)
	}
}

// makeKey gives the options for signing with a new key, and a folder with the
// private key as PEM and the certificate as DER, as evmctl wants them.
func makeKey(t *testing.T) (signer.Options, string) {
	t.Helper()
	dir := t.TempDir()
	pub, err := private.Generate(dir, private.GenerateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := private.Open(t.Context(), filepath.Join(dir, private.PrivateFile), private.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, private.CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if err := os.WriteFile(filepath.Join(dir, "cert.der"), block.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return signer.Options{Key: key, KeyID: pub.ID, Hash: ima.SHA256}, dir
}
