package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// An Image is a raw disk image or a block device, open for reading. It may be
// used by several goroutines at once.
type Image struct {
	file   *os.File
	path   string
	stat   unix.Stat_t // as it was when the image was opened
	size   int64
	layout layout
	held   []*os.File
	writer *os.File // of held, once it is locked for writing
}

// A Partition is one partition, or the whole image (Number 0) when that holds a
// file system directly. Start and Size are in bytes and lie inside the image.
type Partition struct {
	Number int
	Start  int64
	Size   int64
	Type   string // GPT type GUID or MBR type byte ("0x83"); empty for the whole image
	Name   string // GPT partition name
	FS     string // what it holds, by libblkid's names ("ext4", "crypto_LUKS"); empty if unknown
}

// Open opens a raw image whose layout is understood.
func Open(path string) (*Image, error) {
	img, refused, err := Probe(path)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		img.Close()
		return nil, fmt.Errorf("%s: %w", path, refused)
	}
	return img, nil
}

// Probe opens an image and tells as much about it as can be known. An image that
// Open would not accept is returned along with the reason. One with an undo log is
// a *PendingError.
func Probe(path string) (*Image, *RefusedError, error) {
	img, err := OpenPending(path)
	if err != nil {
		return nil, nil, err
	}
	if err := img.checkPending(); err != nil {
		img.Close()
		return nil, nil, err
	}
	var refused *RefusedError
	img.layout, refused, err = probe(img.file, img.size)
	if err != nil {
		img.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, refused, nil
}

// checkPending looks for an undo log whose run was cut short: one that still holds
// its locks is the one to name.
func (m *Image) checkPending() error {
	err := checkPending(m.path)
	if _, ok := errors.AsType[*PendingError](err); !ok {
		return err
	}
	if inUse, ok := errors.AsType[*InUseError](m.LockPending(ForReading)); ok {
		return inUse
	}
	return err
}

// OpenPending opens an image that may have an undo log. Its partitions are not known.
func OpenPending(path string) (*Image, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	img := &Image{file: f, path: path}
	if err := unix.Fstat(int(f.Fd()), &img.stat); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if img.size, err = f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return img, nil
}

// openFile opens a regular file or a block device. O_NONBLOCK keeps a named pipe
// from blocking the open; it changes nothing for the kinds that are accepted.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	mode := info.Mode()
	if !mode.IsRegular() && (mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0) {
		f.Close()
		return nil, fmt.Errorf("%s: not a regular file or a block device", path)
	}
	return f, nil
}

// Close releases the locks and the file.
func (m *Image) Close() error {
	for _, f := range m.held {
		f.Close()
	}
	return m.file.Close()
}

func (m *Image) ReadAt(p []byte, off int64) (int, error) { return m.file.ReadAt(p, off) }

// Size is the image's size in bytes.
func (m *Image) Size() int64 { return m.size }

// Path is the name under which the image was opened.
func (m *Image) Path() string { return m.path }

// Format is the container: "raw", or the name of one that Open refuses.
func (m *Image) Format() string { return m.layout.format }

// Table is the kind of partition table: "gpt", "mbr" or "none".
func (m *Image) Table() string { return m.layout.table }

// SectorSize is the unit of the partition table in bytes.
func (m *Image) SectorSize() int { return m.layout.sector }

// Partitions lists what the partition table describes, in its order.
func (m *Image) Partitions() []Partition { return m.layout.partitions }

func (m *Image) isBlockDevice() bool { return m.stat.Mode&unix.S_IFMT == unix.S_IFBLK }

// Whole is the image as a device, and Device one of its partitions, for who has
// locked it for writing.
func (m *Image) Whole() *Device { return &Device{m.writer, 0, m.size} }

// Device gives read and write access to one partition.
func (m *Image) Device(p Partition) *Device { return &Device{m.writer, p.Start, p.Size} }

// SHA256 digests the image as it is now.
func (m *Image) SHA256(ctx context.Context) ([]byte, error) {
	sum, err := digest(ctx, m.file, m.size)
	if err != nil {
		return nil, fmt.Errorf("digesting %s: %w", m.path, err)
	}
	return sum, nil
}

// Section reads the partition and nothing beyond it.
func (p Partition) Section(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, p.Start, p.Size)
}
