package block

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// ReadFull fills b; an early end of the device is an error.
func ReadFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readData reads a device without its holes, and calls f for each piece and its offset.
func readData(ctx context.Context, d Device, f func(b []byte, off int64) error) error {
	buf := make([]byte, min(d.Size(), 1<<20))
	for r := range d.Data(0, d.Size()) {
		for at := r.Start; at < r.End; {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := buf[:min(r.End-at, int64(len(buf)))]
			if err := ReadFull(d, b, at); err != nil {
				return fmt.Errorf("at byte %d: %w", at, err)
			}
			if err := f(b, at); err != nil {
				return err
			}
			at += int64(len(b))
		}
	}
	return nil
}

// Digest is the SHA-256 of all bytes of a device.
func Digest(ctx context.Context, d Device) ([]byte, error) {
	h := sha256.New()
	pos := int64(0)
	err := readData(ctx, d, func(b []byte, off int64) error {
		if err := writeZeros(ctx, h, off-pos); err != nil {
			return err
		}
		pos = off + int64(len(b))
		_, err := h.Write(b)
		return err
	})
	if err == nil {
		err = writeZeros(ctx, h, d.Size()-pos)
	}
	if err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

var zeros [1 << 20]byte

// writeZeros writes what a hole stands for.
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

// IsZero reports whether a device has nothing but zeros. It reads up to the first byte
// that is none, and no holes.
func IsZero(ctx context.Context, d Device) (bool, error) {
	data := errors.New("not zero")
	err := readData(ctx, d, func(b []byte, _ int64) error {
		if !AllZero(b) {
			return data
		}
		return nil
	})
	if errors.Is(err, data) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", d.Name(), err)
	}
	return true, nil
}

// AllZero reports whether b is zeros only.
func AllZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
