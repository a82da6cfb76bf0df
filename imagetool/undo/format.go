package undo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

const (
	magic      = "vmseal undo 1\n\x00\x00"
	sectorSize = 512
	maxBlock   = 64 << 10 // bytes in a block
	maxVersion = 4
	maxName    = 255
	// maxFrame is a mark with all versions, and some.
	maxFrame = 2*maxBlock + maxVersion*maxBlock/sectorSize*sha256.Size + 64
)

const (
	kindImage = 'I'
	kindGrown = 'G'
	kindBlock = 'B'
	kindEnd   = 'E'
)

var le = binary.LittleEndian

// An Image is what a log says of the image as a whole.
type Image struct {
	Size int64
	Name string // for people; an image may be moved along with its log

	// Grown is up to where it may be written to, if that is beyond its end: what is read
	// there counts as zeros, and restoring the image cuts it off. 0 stands for Size.
	Grown int64
}

// limit is where the last block may end.
func (m Image) limit() int64 { return max(m.Size, m.Grown) }

func (m Image) encodeGrown() []byte { return le.AppendUint64([]byte{kindGrown}, uint64(m.Grown)) }

func (m *Image) decodeGrown(p []byte) error {
	if m.Grown != 0 || len(p) != 9 || int64(le.Uint64(p[1:])) <= m.Size || le.Uint64(p[1:])%sectorSize != 0 {
		return errors.New("what it says of the image's growth is malformed")
	}
	m.Grown = int64(le.Uint64(p[1:]))
	return nil
}

func (m Image) encode() []byte {
	return append(le.AppendUint64([]byte{kindImage}, uint64(m.Size)), m.Name...)
}

func decodeImage(p []byte) (Image, error) {
	if len(p) < 9 || p[0] != kindImage || len(p) > 9+maxName {
		return Image{}, errors.New("it does not begin with the image")
	}
	m := Image{Size: int64(le.Uint64(p[1:])), Name: string(p[9:])}
	if m.Size < 0 {
		return Image{}, fmt.Errorf("size %d of the image is impossible", uint64(m.Size))
	}
	return m, nil
}

// A record is one block in the log.
type record struct {
	offset   int64
	old      []byte
	zero     bool // old is all zero
	versions [][][sha256.Size]byte
	first    []byte // the first version, of a mark
}

func (r *record) isMark() bool { return len(r.versions) > 1 }

func (r *record) encode() []byte {
	p := le.AppendUint64([]byte{kindBlock}, uint64(r.offset))
	p = le.AppendUint32(p, uint32(len(r.old)))
	p = append(p, byte(len(r.versions)))
	if r.zero = allZero(r.old); r.zero {
		p = append(p, 0)
	} else {
		p = append(append(p, 1), r.old...)
	}
	for _, v := range r.versions {
		for _, sum := range v {
			p = append(p, sum[:]...)
		}
	}
	return append(p, r.first...)
}

func decodeRecord(p []byte, size int64) (*record, error) {
	const head = 1 + 8 + 4 + 1 + 1
	if len(p) < head || p[0] != kindBlock {
		return nil, errors.New("a block is malformed")
	}
	r := &record{offset: int64(le.Uint64(p[1:])), zero: p[14] == 0}
	n, versions := int64(le.Uint32(p[9:])), int(p[13])
	switch {
	case n == 0 || n > maxBlock || n%sectorSize != 0 || r.offset%sectorSize != 0 || versions == 0 || versions > maxVersion || p[14] > 1:
		return nil, fmt.Errorf("block at %d is malformed", r.offset)
	case r.offset < 0 || r.offset > size-n:
		return nil, fmt.Errorf("block at %d is outside of the image of %d bytes", r.offset, size)
	}
	p = p[head:]
	r.old = make([]byte, n)
	if !r.zero {
		if int64(len(p)) < n {
			return nil, fmt.Errorf("block at %d is cut short", r.offset)
		}
		p = p[copy(r.old, p):]
	}
	sums := int64(versions) * n / sectorSize * sha256.Size
	if versions > 1 {
		sums += n
	}
	if int64(len(p)) != sums {
		return nil, fmt.Errorf("block at %d does not have one digest a sector", r.offset)
	}
	for range versions {
		v := make([][sha256.Size]byte, n/sectorSize)
		for i := range v {
			p = p[copy(v[i][:], p):]
		}
		r.versions = append(r.versions, v)
	}
	if r.isMark() {
		r.first = bytes.Clone(p)
		if !slices.Equal(digests(r.first), r.versions[0]) {
			return nil, fmt.Errorf("mark at %d does not have the digests that it should", r.offset)
		}
	}
	return r, nil
}

func digests(data []byte) [][sha256.Size]byte {
	var sums [][sha256.Size]byte
	for ; len(data) > 0; data = data[sectorSize:] {
		sums = append(sums, sha256.Sum256(data[:sectorSize]))
	}
	return sums
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// A writer writes frames.
type writer struct {
	w   *bufio.Writer
	sum hash.Hash // of all so far
}

func (w *writer) frame(payload []byte) {
	sum := sha256.Sum256(payload)
	for _, b := range [][]byte{le.AppendUint32(nil, uint32(len(payload))), payload, sum[:]} {
		w.w.Write(b) // the error stays until Flush
		w.sum.Write(b)
	}
}

// A reader reads frames.
type reader struct {
	r   *bufio.Reader
	sum hash.Hash
	pos int64
}

func (r *reader) frame() ([]byte, error) {
	head, err := r.bytes(4)
	if err != nil {
		return nil, err
	}
	n := le.Uint32(head)
	if n > maxFrame {
		return nil, fmt.Errorf("a frame has %d bytes", n)
	}
	payload, err := r.bytes(int(n))
	if err != nil {
		return nil, err
	}
	want, err := r.bytes(sha256.Size)
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(payload); !bytes.Equal(got[:], want) || n == 0 {
		return nil, errors.New("a frame does not have the checksum that it should")
	}
	for _, b := range [][]byte{head, payload, want} {
		r.sum.Write(b)
	}
	return payload, nil
}

func (r *reader) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := io.ReadFull(r.r, b)
	r.pos += int64(k)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errors.New("it is cut short")
	}
	return b, err
}
