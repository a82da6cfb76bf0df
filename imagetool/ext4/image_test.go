package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need returns the path of a tool that a test cannot do without.
func need(t testing.TB, tool string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin") {
		if p := filepath.Join(dir, tool); isExecutable(p) {
			return p
		}
	}
	if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
	return ""
}

func isExecutable(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

func execute(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(need(t, tool), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tree makes a folder with the files that file systems find awkward, as far as
// an ordinary user can make them, and returns it with the number of files.
func tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 1, 59, 60, 61, 100, 159, 160, 161, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 300000, 3 << 20} {
		write(fmt.Sprintf("sizes/%d", n), pattern(n, int64(n)))
	}
	for i := range 700 {
		write(fmt.Sprintf("many/%s-%d", strings.Repeat("n", i%200), i), pattern(10, int64(i)))
	}
	write(strings.Repeat("x", 255), []byte("a name of 255 bytes\n"))
	write("odd\nname \xff\xfe", []byte("odd name\n"))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	// It ends with data: mke2fs -O inline_data -d forgets a hole at the end.
	for _, off := range []int64{0, 1 << 16, 5 << 20, 70 << 20} {
		if _, err := sparse.WriteAt(pattern(5000, off), off+123); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sparse.Close(),
		os.Link(filepath.Join(dir, "sizes/4097"), filepath.Join(dir, "many/hard link")),
		os.Symlink("sizes/100", filepath.Join(dir, "fast")),
		os.Symlink("/sizes/../"+strings.Repeat("./", 40)+"sizes/100", filepath.Join(dir, "middling")), // lies in the inode with inline_data
		os.Symlink("/sizes/../"+strings.Repeat("./", 300)+"sizes/100", filepath.Join(dir, "slow")),
		os.Symlink("loop", filepath.Join(dir, "loop"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pattern is n bytes that repeat nowhere soon.
func pattern(n int, seed int64) []byte {
	b := make([]byte, n)
	x := uint64(seed)*2654435761 + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// makeImage runs mke2fs with a tree and returns the image's path.
func makeImage(t testing.TB, dir, size string, args ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "fs.img")
	args = append([]string{"-q", "-F", "-E", "hash_seed=00000000-0000-4000-8000-000000000001", "-U", "00000000-0000-4000-8000-000000000002"}, args...)
	if dir != "" {
		args = append(args, "-d", dir)
	}
	execute(t, "mke2fs", append(args, img, size)...)
	return img
}

// fsck is the oracle for a whole file system.
func fsck(t testing.TB, img string) {
	t.Helper()
	if out, err := exec.Command(need(t, "e2fsck"), "-fn", img).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
}

func debugfs(t testing.TB, img, command string) {
	t.Helper()
	runDebugfs(t, command, "-w", "-f", "-", img)
}

// debugfsReads waits for nobody, as a writer does where hosts may share the disk (mmp).
func debugfsReads(t testing.TB, img, command string) {
	t.Helper()
	runDebugfs(t, command, "-f", "-", img)
}

func runDebugfs(t testing.TB, command string, args ...string) {
	t.Helper()
	cmd := exec.Command(need(t, "debugfs"), args...)
	cmd.Stdin = strings.NewReader(command + "\n")
	out, err := cmd.CombinedOutput()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err != nil || len(lines) > 2 { // the banner and the echo
		t.Fatalf("debugfs %s: %v\n%s", command, err, out)
	}
}

// file is one on the host's disk as a Device.
type file struct{ *os.File }

func (file) Forget() error { return nil }

func openImage(t testing.TB, path string) (*os.File, *FS, error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, fi.Size())
	return f, fs, err
}
