package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/imagetool/block"
)

// TestContainers lets the tools that define the formats make one of each.
func TestContainers(t *testing.T) {
	raw := extDisk(t)
	dir := t.TempDir()
	for format, name := range map[string]string{
		"qcow2": "qcow2", "vmdk": "VMDK", "vpc": "VHD", "vhdx": "VHDX", "vdi": "VDI", "qed": "QED", "parallels": "Parallels",
	} {
		path := filepath.Join(dir, format)
		run(t, "", "qemu-img", "convert", "-O", format, raw, path)
		wantContainer(t, path, name)
	}
	fixed := filepath.Join(dir, "fixed.vhd")
	run(t, "", "qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed", raw, fixed)
	wantContainer(t, fixed, "VHD")
}

func TestCompressed(t *testing.T) {
	raw := data(t, extDisk(t))
	for _, name := range []string{"gzip", "xz", "zstd", "bzip2", "lz4"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(tool(t, name), "-c")
			cmd.Stdin = bytes.NewReader(raw)
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, out, 0o600); err != nil {
				t.Fatal(err)
			}
			wantContainer(t, path, name)
		})
	}
}

func wantContainer(t *testing.T, path, name string) {
	t.Helper()
	if r := wantRefused(t, path, layout(t, path, 0), "this is "+name); r != nil && r.Hint == "" {
		t.Errorf("%s: no hint", path)
	}
}

// TestContents lets mkfs and its kin fill a whole disk.
func TestContents(t *testing.T) {
	for i, c := range []struct {
		kind string
		make []string
	}{
		// The first four are everywhere; the others are tried where they are.
		{"xfs", []string{"mkfs.xfs", "-q", "-f"}},
		{"swap", []string{"mkswap", "-q"}},
		{"jbd", []string{"mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev"}},
		{"crypto_LUKS", []string{"cryptsetup", "luksFormat", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}},
		{"vfat", []string{"mkfs.vfat"}},
		{"btrfs", []string{"mkfs.btrfs", "-q"}},
		{"f2fs", []string{"mkfs.f2fs", "-q"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			if _, err := exec.LookPath(c.make[0]); err != nil && i >= 4 {
				t.Skip(c.make[0] + " is not installed")
			}
			path := sparse(t, 320*mib)
			stdin := ""
			if c.kind == "crypto_LUKS" {
				stdin = "passphrase"
			}
			run(t, stdin, c.make[0], append(c.make[1:], path)...)
			if p := detect(t, path).Volumes; len(p) != 1 || p[0].FS != c.kind || isExtKind(p[0].FS) {
				t.Errorf("found %+v", p)
			}
		})
	}
}

func TestISO(t *testing.T) {
	path := sparse(t, mib)
	poke(t, path, 32769, []byte("CD001"))
	wantRefused(t, path, layout(t, path, 0), "ISO 9660")
}

// FuzzDetect holds what Detect promises for any bytes: no panic, no memory by the
// image's own word, and partitions inside the image that do not overlap.
func FuzzDetect(f *testing.F) {
	if _, err := exec.LookPath("sfdisk"); err == nil {
		small := sparse(f, 4*mib)
		run(f, "label: gpt\ntable-length: 4\nstart=64, size=64\nstart=128, size=999, name=root\n", "sfdisk", "-q", small)
		for _, disk := range []string{small, mbrDisk(f), extDisk(f), logicalDisk(f)} {
			size := len(data(f, disk))
			f.Add(peek(f, disk, 0, 2048), peek(f, disk, int64(size-1024), 1024), uint32(size/512))
		}
	}
	f.Add([]byte("QFI\xfb"), []byte{}, uint32(1))
	f.Fuzz(func(t *testing.T, head, tail []byte, sectors uint32) {
		size := max(int64(sectors)*512, int64(len(head)+len(tail)))
		fixTable(head)
		l, err := Detect(ends{head: head, tail: tail, size: size}, 0)
		if err != nil || len(l.Problems) > 0 {
			return
		}
		for i, p := range l.Volumes {
			if p.Start < 0 || p.Size <= 0 || p.Size > size || p.Start > size-p.Size {
				t.Fatalf("partition %+v in an image of %d bytes", p, size)
			}
			for _, q := range l.Volumes[:i] {
				if q.ID == p.ID || p.Start < q.Start+q.Size && q.Start < p.Start+p.Size {
					t.Fatalf("%+v collides with %+v", p, q)
				}
			}
		}
	})
}

// fixTable makes the checksums of a changed GPT right, so that the fuzzer gets
// to see what lies behind them.
func fixTable(head []byte) {
	if len(head) < 1536 || !bytes.HasPrefix(head[512:], gptSignature) {
		return
	}
	le, h := binary.LittleEndian, head[512:604]
	if entries := uint64(le.Uint32(h[80:])) * 128; entries <= uint64(len(head)-1024) {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(head[1024:1024+entries]))
	}
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

// ends is an image with zeros between its beginning and its end.
type ends struct {
	block.Device // nothing else is asked of it
	head, tail   []byte
	size         int64
}

func (e ends) Size() int64 { return e.size }

func (e ends) ReadAt(p []byte, off int64) (int, error) {
	if off >= e.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.size-off))
	clear(p[:n])
	overlay := func(b []byte, at int64) {
		if from, to := max(off, at), min(off+int64(n), at+int64(len(b))); from < to {
			copy(p[from-off:to-off], b[from-at:to-at])
		}
	}
	overlay(e.tail, e.size-int64(len(e.tail)))
	overlay(e.head, 0)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
