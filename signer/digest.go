package signer

import (
	"context"
	"crypto"
	_ "crypto/md5"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/vmseal/vmseal/formats/ima"
)

// computable reports whether digests by the hash can be compared. The list is
// fixed: which others are linked in depends on the program.
func computable(h ima.HashID) bool {
	switch h {
	case ima.MD5, ima.SHA1, ima.SHA224, ima.SHA256, ima.SHA384, ima.SHA512:
		return true
	}
	return false
}

// readSize is large enough that a system call or a run of blocks costs nothing
// beside hashing it, and small enough that cancelling is prompt.
const readSize = 256 << 10

// maxEmptyReads is when a reader that gives neither data nor an error is given up.
const maxEmptyReads = 100

var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// digestFile reads the contents once and hashes them, by each hash. They also go to a writer that does not fail.
func digestFile(ctx context.Context, t Tree, f *File, m *meter, also io.Writer, hashes ...crypto.Hash) (digests [][]byte, err error) {
	hs := make([]hash.Hash, len(hashes))
	to := make([]io.Writer, len(hashes))
	for i, h := range hashes {
		hs[i] = h.New()
		to[i] = hs[i]
	}
	if err := readFile(ctx, t, f, m, io.MultiWriter(append(to, also)...)); err != nil {
		return nil, err
	}
	for _, h := range hs {
		digests = append(digests, h.Sum(nil))
	}
	return digests, nil
}

// readFile reads the contents once and hands them to a writer that does not fail. Contents that are
// not as long as the tree said have changed underneath, which is an error.
func readFile(ctx context.Context, t Tree, f *File, m *meter, to io.Writer) (err error) {
	r, err := t.Open(f)
	if err != nil {
		return err
	}
	defer func() {
		if e := r.Close(); err == nil {
			err = e
		}
	}()
	buf := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)

	n, empty := int64(0), 0
	for n <= f.Size && empty < maxEmptyReads {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := r.Read(buf[:])
		to.Write(buf[:k])
		n += int64(k)
		m.bytes(k)
		switch {
		case errors.Is(err, io.EOF) && n == f.Size:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("changed while being read: %d bytes, %d expected", n, f.Size)
		case err != nil:
			return err
		case k == 0:
			empty++
		}
	}
	if n > f.Size {
		return fmt.Errorf("changed while being read: more than the %d bytes expected", f.Size)
	}
	return io.ErrNoProgress
}
