package disktest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// MiB is a mebibyte.
const MiB = 1 << 20

// Tool skips the test where an outside tool is missing, and fails it where every
// tool has to be there.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return p
			}
		}
		Unavailable(t, name+" is not installed")
	}
	return path
}

// Unavailable says why a test cannot run here, and fails it where every test has to.
func Unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Run executes a tool with the given standard input.
func Run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Tool(t, name), args...)
	cmd.Stdin = bytes.NewBufferString(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Sparse makes a file of zeros.
func Sparse(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// Ext4At makes an ext4 file system inside a file.
func Ext4At(t testing.TB, path string, offset, size int64) {
	t.Helper()
	fs := Sparse(t, size)
	Run(t, "", "mke2fs", "-q", "-F", "-t", "ext4", fs)
	Poke(t, path, offset, Data(t, fs))
}

// Poke overwrites bytes of a file; a negative offset counts from its end.
func Poke(t testing.TB, path string, offset int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if offset < 0 {
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			t.Fatal(err)
		}
		offset += end
	}
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

// Peek reads n bytes of a file.
func Peek(t testing.TB, path string, offset int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	return b
}

// Data reads a whole file.
func Data(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Sum digests a file.
func Sum(t testing.TB, path string) [32]byte {
	t.Helper()
	return sha256.Sum256(Data(t, path))
}

// GPTDisk has three partitions, of which the second (in number) holds an ext4.
func GPTDisk(t testing.TB) string {
	path := Sparse(t, 32*MiB)
	Run(t, "label: gpt\n"+
		"start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"EFI system\"\n"+
		"start=8192, size=32768, type=L, name=\"r\u00f6\u00f6t\"\n"+
		"start=40960, size=8192, type=S\n", "sfdisk", "-q", path)
	Ext4At(t, path, 8192*512, 16*MiB)
	return path
}

// MBRDisk has two primary partitions with nothing in them.
func MBRDisk(t testing.TB) string {
	path := Sparse(t, 32*MiB)
	Run(t, "label: dos\nstart=2048, size=8192, type=83\nstart=16384, size=8192, type=83\n", "sfdisk", "-q", path)
	return path
}

// ExtDisk is an ext2 file system without a partition table.
func ExtDisk(t testing.TB) string {
	path := Sparse(t, 8*MiB)
	Run(t, "", "mke2fs", "-q", "-F", path)
	return path
}

// Loop attaches the file to a loop device until the test's end.
func Loop(t testing.TB, path string, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	out, err := exec.Command(Tool(t, "losetup"), append(args, "--find", "--show", path)...).CombinedOutput()
	if err != nil {
		Unavailable(t, "losetup: "+string(out))
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", dev).Run() })
	return dev
}
