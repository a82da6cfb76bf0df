package kernel

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

const (
	// MaxSize is beyond what any kernel has, compressed or not.
	MaxSize = 512 << 20

	// maxWindow bounds the memory for what a decompressor looks back on. Linux
	// takes 128 MiB at most (scripts/xz_wrap.sh, zstd22 in scripts/Makefile.lib).
	maxWindow = 256 << 20
)

// A method is one way in which Linux compresses itself.
type method struct {
	name  string
	magic string
	open  func(io.Reader) (io.Reader, error)
}

// methods go by what each kind of file begins with. The size behind LZMA is that
// of a stream that does not tell it.
var methods = []method{
	{"gzip", "\x1f\x8b\x08", openGzip},
	{"bzip2", "BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"lzma", "\x5d\x00\x00", openLZMA},
	{"xz", "\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, maxWindow) }},
	{"lz4", "\x02\x21\x4c\x18", func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
}

// decompress unpacks a payload. Its last four bytes are the size of what is in
// it: gzip has them anyway, behind all others kbuild puts them.
func decompress(payload []byte) ([]byte, error) {
	for _, m := range methods {
		if !bytes.HasPrefix(payload, []byte(m.magic)) || len(payload) < len(m.magic)+4 {
			continue
		}
		at := len(payload) - 4
		size := binary.LittleEndian.Uint32(payload[at:])
		if size > MaxSize {
			return nil, fmt.Errorf("%s: %d bytes: %w", m.name, size, ErrTooLarge)
		}
		if m.name != "gzip" {
			payload = payload[:at]
		}
		b, err := m.unpack(payload, int64(size))
		if err != nil {
			return nil, fmt.Errorf("unpacking the kernel (%s): %w", m.name, err)
		}
		return b, nil
	}
	return nil, ErrCompression
}

// unpack reads a whole stream, which has to have that size. What memory it takes
// grows with what there is, not with what the size promises.
func (m *method) unpack(payload []byte, size int64) ([]byte, error) {
	r, err := m.open(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, size+1))
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("has not the %d bytes that it is said to have", size)
	}
	return out.Bytes(), nil
}

func openGzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}

func openLZMA(r io.Reader) (io.Reader, error) {
	return lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
}

func openZstd(r io.Reader) (io.Reader, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxSize+1))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}
