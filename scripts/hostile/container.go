package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmseal/vmseal/scripts/hostile/base"
)

// A containerKind is a container as qemu-img makes it.
type containerKind struct {
	name, format, options string
	ext                   string
	packed                bool // its clusters are compressed
}

var containerKinds = []containerKind{
	{"qcow2", "qcow2", "cluster_size=4096", ".qcow2", false},
	{"qcow2-old", "qcow2", "compat=0.10", ".qcow2", false},
	{"qcow2-packed", "qcow2", "compression_type=zstd", ".qcow2", true},
	{"qcow2-subclusters", "qcow2", "extended_l2=on,cluster_size=16k", ".qcow2", false},
	{"vmdk", "vmdk", "", ".vmdk", false},
	{"vmdk-stream", "vmdk", "subformat=streamOptimized", ".vmdk", false},
	{"vhd", "vpc", "force_size=on", ".vhd", false},
	{"vhd-fixed", "vpc", "subformat=fixed,force_size=on", ".vhd", false},
	{"vhdx", "vhdx", "block_size=1M,log_size=1M", ".vhdx", false},
	{"vdi", "vdi", "", ".vdi", false},
}

// containers are whole ones to be spoilt.
type containers struct {
	seed  uint64
	bytes [][]byte // of each kind
}

// newContainers puts a small file system into each kind of container.
func newContainers(ctx context.Context, dir string, seed uint64) (*containers, error) {
	recipe := base.Recipes[0]
	im, err := recipe.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, im.Bytes, 0o644); err != nil {
		return nil, err
	}
	c := &containers{seed: seed}
	for _, k := range containerKinds {
		out := filepath.Join(dir, k.name+k.ext)
		args := []string{"qemu-img", "convert", "-O", k.format}
		if k.options != "" {
			args = append(args, "-o", k.options)
		}
		if k.packed {
			args = append(args, "-c")
		}
		r, err := run(ctx, patience, append(args, raw, out)...)
		if err != nil {
			return nil, err
		}
		if r.Code != 0 {
			return nil, fmt.Errorf("qemu-img: %s", r.stderr)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		c.bytes = append(c.bytes, b)
	}
	return c, nil
}

// make spoils the container with this number.
func (c *containers) make(n int) *specimen {
	rng := rand.New(rand.NewPCG(c.seed, 1<<32+uint64(n)))
	i := n % len(containerKinds)
	k := containerKinds[i]
	s := &specimen{number: n, kind: k.name, ext: k.ext, bytes: bytes.Clone(c.bytes[i])}
	for range 1 + rng.IntN(3) {
		s.damage = append(s.damage, spoilContainer(s, rng))
	}
	if rng.IntN(8) > 0 {
		sealContainer(s.bytes, k.format)
	}
	return s
}

// spoilContainer changes a field somewhere: most often in the header, else in a table, the
// end, or anywhere, or it moves the end.
func spoilContainer(s *specimen, rng *rand.Rand) string {
	size := len(s.bytes)
	if rng.IntN(20) == 0 {
		end := rng.IntN(size)
		s.bytes = s.bytes[:end]
		if end == 0 {
			s.bytes = []byte{0}
		}
		return fmt.Sprintf("cut to %d bytes", len(s.bytes))
	}
	within := []int{128, 128, 128, 1024, 64 << 10, 320 << 10, size}[rng.IntN(7)]
	at := rng.IntN(min(within, size))
	if rng.IntN(8) == 0 {
		at = max(0, size-1-rng.IntN(1024))
	}
	width := []int{1, 2, 4, 8}[rng.IntN(4)]
	at = at / width * width
	if at+width > size {
		at, width = size-1, 1
	}
	var value [8]byte
	numbers := []uint64{0, 1, 2, 3, 0xff, 512, 65536, uint64(size), uint64(size) / 512, 1 << 31, 1<<32 - 1, 1 << 62, 1 << 63, 1<<64 - 1, rng.Uint64()}
	v := numbers[rng.IntN(len(numbers))]
	if rng.IntN(2) == 0 {
		binary.LittleEndian.PutUint64(value[:], v)
		copy(s.bytes[at:][:width], value[:])
	} else {
		binary.BigEndian.PutUint64(value[:], v)
		copy(s.bytes[at:][:width], value[8-width:])
	}
	return fmt.Sprintf("%d bytes at %d: %x", width, at, s.bytes[at:][:width])
}

// sealContainer corrects the checksums that a format has.
func sealContainer(b []byte, format string) {
	switch format {
	case "vpc":
		for _, at := range []int{0, len(b) - 512} {
			if at < 0 || at+512 > len(b) || string(b[at:][:8]) != "conectix" {
				continue
			}
			footer, sum := b[at:][:512], uint32(0)
			clear(footer[64:68])
			for _, c := range footer {
				sum += uint32(c)
			}
			binary.BigEndian.PutUint32(footer[64:], ^sum)
		}
	case "vhdx":
		for at, n := range map[int]int{64 << 10: 4 << 10, 128 << 10: 4 << 10, 192 << 10: 64 << 10, 256 << 10: 64 << 10} {
			if at+n > len(b) {
				continue
			}
			part := b[at:][:n]
			clear(part[4:8])
			binary.LittleEndian.PutUint32(part[4:], crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli)))
		}
	}
}

// signContainer is sign for a container: what is signed has to hold a clean file system,
// and in place it has to become the same disk.
func (t *trial) signContainer(ctx context.Context) {
	out := filepath.Join(t.dir, "signed"+t.ext)
	c := t.imagetool(ctx, "sign", "--key", t.bed.key, t.image, "--out", out)
	t.expectBytes("sign --out", t.image, t.bytes)
	if !signed(c) {
		t.refusal = reason(c)
		t.expectFiles("sign --out", "image"+t.ext)
		t.containerInPlace(ctx, "")
		return
	}
	t.expectFiles("sign --out", "image"+t.ext, "signed"+t.ext)
	if v := t.imagetool(ctx, "verify", "--trust", t.bed.public, out); v.Code != c.Code {
		t.fault("verify of the signed image: exit %d\n%s%s", v.Code, v.stdout, v.stderr)
	}
	t.containerInPlace(ctx, t.rawOf(ctx, out))
}

// rawOf is the digest of the disk in a container, which e2fsck has found clean. It is
// "unknown" for a container of which QEMU cannot read all.
func (t *trial) rawOf(ctx context.Context, path string) string {
	if t.err != nil {
		return ""
	}
	format := containerKinds[t.number%len(containerKinds)].format
	raw := filepath.Join(filepath.Dir(t.dir), filepath.Base(t.dir)+".raw")
	defer os.Remove(raw)
	c, err := run(ctx, patience, "qemu-img", "convert", "-f", format, "-O", "raw", path, raw)
	if err != nil || c.Code != 0 {
		return "unknown"
	}
	if c, err = run(ctx, patience, "e2fsck", "-fn", raw); err != nil {
		t.err = err
	} else if c.Code != 0 {
		t.fault("e2fsck of the signed image: exit %d\n%s", c.Code, c.stdout)
	}
	sum, err := run(ctx, patience, "sha256sum", raw)
	if err != nil {
		t.err = err
		return ""
	}
	return strings.Fields(sum.stdout)[0]
}

func (t *trial) containerInPlace(ctx context.Context, want string) {
	if t.number/len(containerKinds)%3 != 0 || t.err != nil {
		return
	}
	c := t.imagetool(ctx, "sign", "--key", t.bed.key, t.image, "--in-place")
	switch {
	case !signed(c):
		t.expectBytes("sign --in-place", t.image, t.bytes)
		if want != "" && !strings.Contains(c.stderr, "cannot be changed in place") {
			t.fault("sign --in-place: exit %d, but not with --out\n%s", c.Code, c.stderr)
		}
	case want == "":
		t.fault("sign --in-place: exit %d, but not with --out\n%s", c.Code, c.stderr)
	default:
		if got := t.rawOf(ctx, t.image); got != want {
			t.fault("sign --in-place has made another disk than sign --out")
		}
	}
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		t.err = err
	}
	for _, e := range entries {
		if n := e.Name(); n != "image"+t.ext && n != "signed"+t.ext {
			t.fault("sign --in-place: left %q behind", n)
		}
	}
}
