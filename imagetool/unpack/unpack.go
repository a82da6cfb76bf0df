package unpack

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
)

const (
	// maxWindow bounds the memory for what a decompressor looks back on: xz -9 takes
	// 64 MiB, zstd --ultra -22 takes 128 MiB.
	maxWindow = 128 << 20
	// maxSize is beyond what anybody keeps compressed. Zeros take next to nothing in the
	// file, and no room where they go, but time.
	maxSize = 8 << 40
)

// A method is one way of compressing a file.
type method struct {
	name       string // as package disk calls it
	extensions []string
	magic      string
	open       func(io.Reader) (io.Reader, error)
}

var methods = []method{
	{"gzip", []string{".gz"}, "\x1f\x8b\x08", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"xz", []string{".xz"}, "\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, maxWindow) }},
	{"zstd", []string{".zst", ".zstd"}, "\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	}},
}

// Method tells how a file is compressed, by its name and by how it begins. It is "" if
// that does not agree: a guest can write any beginning into its raw disk.
func Method(dev block.Device) (string, error) {
	head := make([]byte, 6)
	if _, err := dev.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	for _, m := range methods {
		for _, e := range m.extensions {
			if strings.EqualFold(filepath.Ext(dev.Name()), e) && strings.HasPrefix(string(head), m.magic) {
				return m.name, nil
			}
		}
	}
	return "", nil
}

// Recognize tells how a file is compressed by how it begins alone, and what command unpacks
// it; "" if it is not.
func Recognize(head []byte) string {
	for _, m := range methods {
		if strings.HasPrefix(string(head), m.magic) {
			return m.name
		}
	}
	return ""
}

// Reader unpacks a stream by a method, as it is read. Close releases what that takes.
func Reader(r io.Reader, name string) (io.ReadCloser, error) {
	for _, m := range methods {
		if m.name != name {
			continue
		}
		unpacked, err := m.open(r)
		if err != nil {
			return nil, fmt.Errorf("unpacking it (%s): %w", name, err)
		}
		if d, ok := unpacked.(*zstd.Decoder); ok {
			return d.IOReadCloser(), nil
		}
		return io.NopCloser(unpacked), nil
	}
	return nil, fmt.Errorf("compression %q is none that is known", name)
}

// A Disk is what was in a file. Close removes it.
type Disk struct {
	block.Device
	file *os.File
	name string
}

// Name is that of the file.
func (d *Disk) Name() string { return d.name }

// WriteAt fails: the file would not get it.
func (d *Disk) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("%s is compressed, and can only be read", d.name)
}

// Close removes what was unpacked.
func (d *Disk) Close() error { return d.file.Close() }

// Open unpacks a file by a method.
func Open(ctx context.Context, dev block.Device, name string) (*Disk, error) {
	for _, m := range methods {
		if m.name != name {
			continue
		}
		f, err := temporary()
		if err != nil {
			return nil, err
		}
		size, err := m.unpack(ctx, dev, f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("unpacking it (%s) to %s: %w", name, os.TempDir(), err), f.Close())
		}
		return &Disk{hostfile.Device(f, size), f, dev.Name()}, nil
	}
	return nil, fmt.Errorf("compression %q is none that is known", name)
}

// temporary makes a file without a name.
func temporary() (*os.File, error) {
	f, err := os.CreateTemp("", "vmseal-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (m *method) unpack(ctx context.Context, dev block.Device, f *os.File) (size int64, err error) {
	r, err := m.open(io.NewSectionReader(dev, 0, dev.Size()))
	if err != nil {
		return 0, err
	}
	if d, ok := r.(*zstd.Decoder); ok {
		defer d.Close()
	}
	buf := make([]byte, 256<<10)
	for size <= maxSize {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := io.ReadFull(r, buf)
		if !block.AllZero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return 0, err
			}
		}
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && atEnd(r):
			return size, f.Truncate(size)
		case err != nil:
			return 0, err
		}
	}
	return 0, fmt.Errorf("there are more than %d bytes in it", int64(maxSize))
}

// atEnd tells the end of a stream that does not fill a buffer from one that is cut short,
// which io.ReadFull does not.
func atEnd(r io.Reader) bool {
	_, err := r.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}
