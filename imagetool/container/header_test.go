package container

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

// TestHeaders reads what qemu-img makes, and has the daemon give a disk of the same size.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, format, options string
		sub                   string
		convert               bool
	}{
		{"a.qcow2", "qcow2", "", "version 3, clusters of 65536 bytes", false},
		{"a.qcow2", "qcow2", "compat=0.10,cluster_size=512", "version 2, clusters of 512 bytes", false},
		{"a.qcow2", "qcow2", "extended_l2=on,cluster_size=2M,compression_type=zstd", "version 3, clusters of 2097152 bytes, zstd, subclusters", false},
		{"a.qcow2", "qcow2", "lazy_refcounts=on,refcount_bits=1,preallocation=metadata", "version 3, clusters of 65536 bytes", false},
		{"a.vmdk", "vmdk", "", "monolithicSparse", false},
		{"a.vmdk", "vmdk", "compat6=on,zeroed_grain=on", "monolithicSparse", false},
		{"a.vmdk", "vmdk", "subformat=streamOptimized", "streamOptimized", true},
		{"a.vhd", "vpc", "", "dynamic", false},
		{"a.vhd", "vpc", "subformat=fixed", "fixed", false},
		{"a.vhd", "vpc", "subformat=fixed,force_size=on", "fixed", false},
		{"a.vhdx", "vhdx", "", "dynamic", false},
		{"a.vhdx", "vhdx", "subformat=fixed", "fixed", false},
		{"a.vdi", "vdi", "", "dynamic", false},
		{"a.vdi", "vdi", "static=on", "static", false},
	} {
		t.Run(c.name+" "+c.options, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.name)
			args := []string{"create", "-q", "-f", c.format}
			if c.options != "" {
				args = append(args, "-o", c.options)
			}
			disktest.Run(t, "", "qemu-img", append(args, path, "16M")...)
			h := openContainer(t, path)
			if h.Format != Format(c.format) || h.Sub != c.sub || (h.Convert != "") != c.convert || h.Backing != "" || h.Size/mib != 16 {
				t.Errorf("%+v", h.Header)
			}
			d, err := h.Disk()
			if err != nil {
				t.Fatal(err)
			}
			if d.Size() != h.Size {
				t.Errorf("the disk has %d bytes, by its header %d", d.Size(), h.Size)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefused: what refers to other files, or cannot be changed safely, is refused by
// name.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "base.raw")
	disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "raw", raw, "16M")
	patched := func(path string, at int64, b ...byte) string {
		poke(t, path, at, b)
		return path
	}
	vhd := func(b ...byte) string { // with a type, and the checksum for it
		path := create(t, "a.vhd", "vpc", "subformat=fixed")
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		footer := peek(t, path, info.Size()-footerSize, footerSize)
		copy(footer[60:], b)
		sum := uint32(0)
		for i, c := range footer {
			if i < 64 || i >= 68 {
				sum += uint32(c)
			}
		}
		be.PutUint32(footer[64:], ^sum)
		return patched(path, -footerSize, footer...)
	}
	for name, c := range map[string]struct{ path, want string }{
		"backing file": {create(t, "a.qcow2", "qcow2", "backing_file="+raw, "backing_fmt=raw"), `is nothing without its backing file "` + raw},
		"json": {func() string {
			path := filepath.Join(dir, "json.qcow2")
			disktest.Run(t, "", "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", `json:{"driver":"nbd"}`, "-F", "raw", path, "16M")
			return path
		}(), `is nothing without its backing file "json:{\"driver\"`},
		"encrypted": {patched(create(t, "a.qcow2", "qcow2"), 32, 0, 0, 0, 2), "the contents are encrypted (method 2)"},
		"snapshots": {func() string {
			path := create(t, "a.qcow2", "qcow2")
			disktest.Run(t, "", "qemu-img", "snapshot", "-c", "before", path)
			return path
		}(), "it has 1 internal snapshots"},
		"dirty":            {patched(create(t, "a.qcow2", "qcow2"), 72, 0, 0, 0, 0, 0, 0, 0, qcow2Dirty), "marked as dirty"},
		"corrupt":          {patched(create(t, "a.qcow2", "qcow2"), 72, 0, 0, 0, 0, 0, 0, 0, qcow2Corrupt), "marked as corrupt"},
		"data file":        {create(t, "a.qcow2", "qcow2", "data_file="+filepath.Join(dir, "data"), "data_file_raw=on"), "its data lie in another file"},
		"unknown feature":  {patched(create(t, "a.qcow2", "qcow2"), 72, 0, 0, 0, 0, 0, 0, 1, 0), "not known (0x100)"},
		"version 1":        {patched(create(t, "a.qcow2", "qcow2"), 4, 0, 0, 0, 1), "version 1 is none that is known"},
		"clusters":         {patched(create(t, "a.qcow2", "qcow2"), 20, 0, 0, 0, 30), "2^30 bytes is impossible"},
		"vmdk with parent": {create(t, "a.vmdk", "vmdk", "backing_file="+create(t, "base.vmdk", "vmdk"), "backing_fmt=vmdk"), "is nothing without its backing file"},
		"monolithicFlat":   {create(t, "a.vmdk", "vmdk", "subformat=monolithicFlat"), "only the descriptor (monolithicFlat)"},
		"twoGbSparse":      {create(t, "a.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"), `createType "twoGbMaxExtentSparse"`},
		"twoGbFlat":        {create(t, "a.vmdk", "vmdk", "subformat=twoGbMaxExtentFlat"), `createType "twoGbMaxExtentFlat"`},
		"vmdk part":        {strings.TrimSuffix(create(t, "a.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"), ".vmdk") + "-s001.vmdk", "only a part of a disk"},
		"vmdk capacity 0":  {patched(create(t, "a.vmdk", "vmdk"), 12, make([]byte, 8)...), "only a part of a disk"},
		"vmdk of ESX":      {patched(create(t, "a.vmdk", "vmdk"), 0, []byte("COWD")...), "an extent of an ESX server"},
		"vhd differencing": {vhd(0, 0, 0, 4), "differencing disk"},
		"vhd type":         {vhd(0, 0, 0, 9), "type 9 is out of place"},
		"vhd checksum":     {patched(create(t, "a.vhd", "vpc", "subformat=fixed"), -footerSize+30, 1, 2, 3), "checksum"},
		"vdi differencing": {patched(create(t, "a.vdi", "vdi"), 76, 4), "differencing disk"},
		"vdi parent":       {patched(create(t, "a.vdi", "vdi"), 440, 1), "differencing disk"},
		"vdi type":         {patched(create(t, "a.vdi", "vdi"), 76, 7), "type 7"},
		"vhdx checksum":    {patched(patched(create(t, "a.vhdx", "vhdx"), vhdxHeader1+8, 99), vhdxHeader2+8, 99), "neither of its headers"},
		"vhdx log":         {dirtyVHDX(t), "its log has yet to be replayed"},
		"vhdx regions":     {patched(create(t, "a.vhdx", "vhdx"), vhdxRegions+8, 99), "region table"},
	} {
		c2, err := Open(open(t, c.path), "", nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c2 == nil || c2.Format == "" {
			t.Errorf("%s: its format is not told", name)
		}
	}
}

// TestVersion3: a VMDK that QEMU opens only for reading is made anew.
func TestVersion3(t *testing.T) {
	path := create(t, "a.vmdk", "vmdk")
	poke(t, path, 4, []byte{3})
	c := openContainer(t, path)
	if !strings.Contains(c.Convert, "version 3") {
		t.Errorf("%+v", c.Header)
	}
	d, err := c.Disk()
	if err != nil {
		t.Fatal(err)
	}
	d.Abort()
	beside, err := os.Create(filepath.Join(t.TempDir(), "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	name := filepath.Join(t.TempDir(), "out.vmdk")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if d, err = c.Overlay(t.Context(), beside); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("text"), 5*mib); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close(), c.Rewrite(t.Context(), beside, out, name)); err != nil {
		t.Fatal(err)
	}
	c.Backing = "base.vmdk"
	if _, err := c.Overlay(t.Context(), beside); err == nil || !strings.Contains(err.Error(), "an overlay no more") {
		t.Errorf("error %v", err)
	}
	again := openContainer(t, name)
	if again.Convert != "" || again.Sub != "monolithicSparse" {
		t.Errorf("%+v", again.Header)
	}
	if d, err = again.Disk(); err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	b := make([]byte, 4)
	if _, err := d.ReadAt(b, 5*mib); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
}

// dirtyVHDX gives the header in use a log.
func dirtyVHDX(t *testing.T) string {
	path := create(t, "a.vhdx", "vhdx")
	for _, at := range []int64{vhdxHeader1, vhdxHeader2} {
		b := peek(t, path, at, vhdxHeaderSize)
		b[48] = 1
		le.PutUint32(b[4:], vhdxSum(b))
		poke(t, path, at, b)
	}
	return path
}

// TestChain reads an overlay over an overlay over a raw file.
func TestChain(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "raw", name("base.img"), "1M")
	poke(t, name("base.img"), 0, []byte("base"))
	poke(t, name("base.img"), 4096, []byte("base"))
	disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", name("middle.qcow2"))
	disktest.Run(t, "", "qemu-io", "-f", "qcow2", "-c", "write -P 77 512k 64k", name("middle.qcow2"))
	disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", name("top.qcow2"))

	if _, err := Open(open(t, name("top.qcow2")), "", []string{name("middle.qcow2")}); err == nil || !strings.Contains(err.Error(), `middle.qcow2 is nothing without its backing file "base.img"`) {
		t.Errorf("error %v", err)
	}
	dirty := name("dirty.qcow2")
	if err := os.WriteFile(dirty, disktest.Data(t, name("middle.qcow2")), 0o600); err != nil {
		t.Fatal(err)
	}
	poke(t, dirty, 79, []byte{qcow2Dirty})
	if _, err := Open(open(t, name("top.qcow2")), "", []string{dirty}); err == nil || !strings.Contains(err.Error(), "backing file "+dirty+": it is marked as dirty") {
		t.Errorf("error %v", err)
	}
	c := openContainer(t, name("top.qcow2"), name("middle.qcow2"), name("base.img"))
	d, err := c.Disk()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	b := make([]byte, mib)
	if _, err := d.ReadAt(b, 0); err != nil || string(b[:4]) != "base" || b[512<<10] != 77 {
		t.Errorf("%v: %q %d", err, b[:4], b[512<<10])
	}
}

// A header in memory is a device.
type inMemory []byte

func (m inMemory) Name() string                            { return "image" }
func (m inMemory) Size() int64                             { return int64(len(m)) }
func (m inMemory) Sync() error                             { return nil }
func (m inMemory) Forget() error                           { return nil }
func (m inMemory) WriteAt([]byte, int64) (int, error)      { panic("written") }
func (m inMemory) Data(int64, int64) iter.Seq[block.Range] { return nil }
func (m inMemory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) {
		return 0, io.EOF
	}
	return bytes.NewReader(m).ReadAt(p, off)
}

// FuzzHeader reads headers that say anything, as each of the formats.
func FuzzHeader(f *testing.F) {
	for _, format := range Formats[1:] {
		path := filepath.Join(f.TempDir(), "image")
		disktest.Run(f, "", "qemu-img", "create", "-q", "-f", string(format), path, "1M")
		b := disktest.Data(f, path)
		f.Add(b[:min(len(b), 256<<10)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range Formats {
			h, err := readHeader(inMemory(b), format)
			if err == nil && (h.Size < 0 || h.Format != format) {
				t.Errorf("%s: %+v", format, h)
			}
		}
		byMagic(inMemory(b))
	})
}

// TestCheck: an image in which two blocks share a cluster is not written to.
func TestCheck(t *testing.T) {
	path := create(t, "a.qcow2", "qcow2")
	disktest.Run(t, "", "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "-c", "write -P 2 64k 64k", path)
	if err := openContainer(t, path).Check(t.Context()); err != nil {
		t.Error(err)
	}
	l1 := int64(be.Uint64(peek(t, path, 40, 8)))
	l2 := int64(be.Uint64(peek(t, path, l1, 8)) & 0x00fffffffffffe00)
	poke(t, path, l2+8, peek(t, path, l2, 8))
	if err := openContainer(t, path).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "finds it damaged") {
		t.Errorf("error %v", err)
	}
	for _, c := range []*Container{openContainer(t, create(t, "a.vhd", "vpc")), openContainer(t, create(t, "a.vmdk", "vmdk"))} {
		if err := c.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", c.Format, err)
		}
	}
}

// TestNoBacking: the daemon opens no backing file by itself, even if nobody has looked at
// the header before.
func TestNoBacking(t *testing.T) {
	for name, format := range map[string]string{"a.qcow2": "qcow2", "a.vmdk": "vmdk"} {
		path := filepath.Join(t.TempDir(), name)
		base := create(t, "base", format)
		disktest.Run(t, "", "qemu-img", "create", "-q", "-f", format, "-b", base, "-F", format, path)
		if err := os.Remove(base); err != nil {
			t.Fatal(err)
		}
		c, err := openOne(open(t, path), "")
		if err != nil || c.Backing != base {
			t.Fatal(c, err)
		}
		d, err := c.Disk()
		if err != nil {
			t.Fatalf("it looks for %s: %v", base, err)
		}
		d.Abort()
	}
}

// TestSlowCheck: tables that take for ever are refused.
func TestSlowCheck(t *testing.T) {
	defer func(f func(int64) time.Duration) { checkTime = f }(checkTime)
	checkTime = func(int64) time.Duration { return 50 * time.Millisecond }
	c, fake := openContainer(t, create(t, "a.qcow2", "qcow2")), t.TempDir()
	if err := os.WriteFile(filepath.Join(fake, imgName), []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", fake+":"+os.Getenv("PATH"))
	if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "has not come to its end in 50ms") {
		t.Errorf("error %v", err)
	}
}
