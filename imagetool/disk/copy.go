package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 16 << 20

// copyImage makes dst a copy of src with its holes. Where the file system can
// share blocks, nothing is copied at all.
func copyImage(ctx context.Context, dst, src *os.File, size int64, progress func(done int64)) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		progress(size)
		return ctx.Err()
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return dataRanges(src, 0, size, func(start, end int64) error {
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(end-start, copyChunk)
			if err := copyRange(dst, src, start, n); err != nil {
				return err
			}
			start += n
			progress(start)
		}
		return nil
	})
}

// dataRanges calls f for each range between two offsets that is not a hole. Where
// the file system cannot tell, or for a block device, all of it is one range.
func dataRanges(src *os.File, pos, size int64, f func(start, end int64) error) error {
	for pos < size {
		start, err := unix.Seek(int(src.Fd()), pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && start >= size { // only a hole is left
			return nil
		}
		if err != nil {
			return f(pos, size)
		}
		end, err := unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE)
		if err != nil || end <= start || end > size {
			end = size
		}
		if err := f(start, end); err != nil {
			return err
		}
		pos = end
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
		if err := readFull(src, b, off); err != nil {
			return fmt.Errorf("at byte %d: %w", off, err)
		}
		if !allZero(b) { // dst was empty and has its final size
			if _, err := dst.WriteAt(b, off); err != nil {
				return err
			}
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}

// readData reads what lies between two offsets, without the holes, and calls f for
// each piece and its offset.
func readData(ctx context.Context, src *os.File, pos, size int64, f func(b []byte, off int64) error) error {
	buf := make([]byte, 1<<20)
	return dataRanges(src, pos, size, func(start, end int64) error {
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := buf[:min(end-start, int64(len(buf)))]
			if err := readFull(src, b, start); err != nil {
				return fmt.Errorf("at byte %d: %w", start, err)
			}
			if err := f(b, start); err != nil {
				return err
			}
			start += int64(len(b))
		}
		return nil
	})
}

func digest(ctx context.Context, f *os.File, size int64) ([]byte, error) {
	h := sha256.New()
	if err := digestRanges(ctx, h, f, size); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// digestRanges feeds the image to w, zeros for the holes without reading them.
func digestRanges(ctx context.Context, w io.Writer, f *os.File, size int64) error {
	pos := int64(0)
	err := readData(ctx, f, 0, size, func(b []byte, off int64) error {
		if err := writeZeros(ctx, w, off-pos); err != nil {
			return err
		}
		pos = off + int64(len(b))
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	return writeZeros(ctx, w, size-pos)
}

var zeros [1 << 20]byte

func writeZeros(ctx context.Context, w io.Writer, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := min(n, int64(len(zeros)))
		if _, err := w.Write(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
