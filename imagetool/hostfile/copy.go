package hostfile

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/block"
)

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 16 << 20

// CopyTo makes an empty file a copy of this one, with its holes. Where the file system
// can share blocks, nothing is copied at all.
func (m *File) CopyTo(ctx context.Context, dst *os.File, progress func(done int64)) error {
	return m.handle.copyTo(ctx, dst, progress)
}

// CopyMode gives a copy the permissions of this file. A block device's are no model.
func (m *File) CopyMode(dst *os.File) error {
	if m.isBlockDevice() {
		return nil
	}
	return dst.Chmod(os.FileMode(m.stat.Mode & 0o777))
}

func (h handle) copyTo(ctx context.Context, dst *os.File, progress func(done int64)) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(h.f.Fd())) == nil {
		progress(h.size)
		return ctx.Err()
	}
	if err := dst.Truncate(h.size); err != nil {
		return err
	}
	for r := range h.Data(0, h.size) {
		for at := r.Start; at < r.End; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(r.End-at, copyChunk)
			if err := copyRange(dst, h.f, at, n); err != nil {
				return err
			}
			at += n
			progress(at)
		}
	}
	return nil
}

// copyRange copies in the kernel where that works, else through a buffer that
// leaves holes for zeros. copy_file_range refuses block devices (EINVAL) and may
// refuse to cross file systems (EXDEV) or have no support (EOPNOTSUPP, ENOSYS).
func copyRange(dst, src *os.File, off, n int64) error {
	from, to := off, off
	for n > 0 {
		done, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(n), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && done > 0:
			n -= int64(done)
			continue
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
			return err
		}
		return copyBuffered(dst, src, from, n)
	}
	return nil
}

func copyBuffered(dst, src *os.File, off, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		if err := block.ReadFull(src, b, off); err != nil {
			return fmt.Errorf("at byte %d: %w", off, err)
		}
		if !block.AllZero(b) { // dst was empty and has its final size
			if _, err := dst.WriteAt(b, off); err != nil {
				return err
			}
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}
