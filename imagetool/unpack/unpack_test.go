package unpack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

// packed compresses with the tool that people use.
func packed(t *testing.T, path string, tool ...string) string {
	t.Helper()
	cmd := exec.Command(disktest.Tool(t, tool[0]), append(tool[1:], "-c", path)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	name := path + map[string]string{"gzip": ".gz", "xz": ".xz", "zstd": ".zst"}[tool[0]]
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, path string) block.Device {
	t.Helper()
	f, err := hostfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestUnpack reads what gzip, xz and zstd make, and keeps holes.
func TestUnpack(t *testing.T) {
	path := disktest.Sparse(t, 20<<20+77)
	data := make([]byte, 512<<10)
	rand.NewChaCha8([32]byte{}).Read(data)
	disktest.Poke(t, path, 5<<20+13, data)
	want := disktest.Sum(t, path)
	for _, tool := range [][]string{{"gzip"}, {"xz"}, {"xz", "-9", "--x86", "--lzma2"}, {"xz", "--check=sha256", "--block-size=1MiB"}, {"zstd", "-q"}, {"zstd", "-q", "--ultra", "-22"}} {
		t.Run(strings.Join(tool, " "), func(t *testing.T) {
			dev := open(t, packed(t, path, tool...))
			name, err := Method(dev)
			if err != nil || name != tool[0] {
				t.Fatalf("%q, %v", name, err)
			}
			d, err := Open(t.Context(), dev, name)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if got, err := block.Digest(t.Context(), d); err != nil || !bytes.Equal(got, want[:]) || d.Size() != 20<<20+77 {
				t.Errorf("%d bytes with digest %x, %v", d.Size(), got, err)
			}
			var st unix.Stat_t
			if unix.Fstat(int(d.file.Fd()), &st); st.Blocks*512 > 8<<20 || st.Nlink != 0 {
				t.Errorf("%d KiB allocated, %d names", st.Blocks/2, st.Nlink)
			}
			if _, err := d.WriteAt([]byte("x"), 0); err == nil {
				t.Error("written")
			}
		})
	}
}

// TestTwoStreams: files that were put together are one.
func TestTwoStreams(t *testing.T) {
	path := disktest.Sparse(t, 1<<20)
	disktest.Poke(t, path, 0, []byte("begin"))
	for _, tool := range []string{"gzip", "xz", "zstd"} {
		name := packed(t, path, tool)
		twice := bytes.Repeat(disktest.Data(t, name), 2)
		if err := os.WriteFile(name, twice, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), open(t, name), tool)
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		defer d.Close()
		b := disktest.Data(t, path)
		want := sha256.Sum256(append(b, b...))
		if got, err := block.Digest(t.Context(), d); err != nil || !bytes.Equal(got, want[:]) {
			t.Errorf("%s: %d bytes, %v", tool, d.Size(), err)
		}
	}
}

// TestDamaged: what is cut short or spoilt is no disk.
func TestDamaged(t *testing.T) {
	path := disktest.Sparse(t, 1<<20)
	disktest.Poke(t, path, 0, bytes.Repeat([]byte("some text "), 1000))
	for _, tool := range []string{"gzip", "xz", "zstd"} {
		name := packed(t, path, tool)
		whole := disktest.Data(t, name)
		spoilt := bytes.Clone(whole)
		spoilt[len(spoilt)/2] ^= 1
		for what, b := range map[string][]byte{"cut short": whole[:len(whole)-3], "half": whole[:len(whole)/2], "spoilt": spoilt, "with a tail": append(bytes.Clone(whole), "garbage and more"...)} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if d, err := Open(t.Context(), open(t, name), tool); err == nil {
				d.Close()
				t.Errorf("%s, %s: unpacked %d bytes", tool, what, d.Size())
			}
		}
	}
}

// TestMethod: a raw disk that begins like a compressed file is one.
func TestMethod(t *testing.T) {
	for name, want := range map[string]string{"disk.gz": "gzip", "DISK.RAW.GZ": "gzip", "disk.img": "", "disk.xz": ""} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("\x1f\x8b\x08 and more"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Method(open(t, path)); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestCancelled ends what would take long.
func TestCancelled(t *testing.T) {
	path := packed(t, disktest.Sparse(t, 1<<20), "zstd", "-q")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, open(t, path), "zstd"); err == nil {
		t.Error("it went on")
	}
}

var _ io.Closer = (*Disk)(nil)
