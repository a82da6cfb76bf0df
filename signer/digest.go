package signer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"sync"
)

// readSize is large enough that a system call or a run of blocks costs nothing
// beside hashing it, and small enough that cancelling is prompt.
const readSize = 256 << 10

var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// digestFile reads the contents once and hashes them. Contents that are not as
// long as the tree said have changed underneath, and have no digest.
func digestFile(ctx context.Context, t Tree, f *File, hash crypto.Hash, m *meter) (digest []byte, err error) {
	r, err := t.Open(f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := r.Close(); err == nil && e != nil {
			digest, err = nil, e
		}
	}()
	buf := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)

	h := hash.New()
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, err := r.Read(buf[:])
		h.Write(buf[:k])
		n += int64(k)
		m.bytes(k)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if n > f.Size {
			break
		}
	}
	if n != f.Size {
		return nil, fmt.Errorf("changed while being read: %d bytes or more, %d expected", n, f.Size)
	}
	return h.Sum(nil), nil
}
