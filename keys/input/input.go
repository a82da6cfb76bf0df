package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Open opens a file whose reads end when ctx does, as those of Reader.
func Open(ctx context.Context, path string) (io.ReadCloser, error) {
	f, err := await(ctx, func() (*os.File, error) { return open(path) }, func(f *os.File) { f.Close() })
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{Reader(ctx, f), f}, nil
}

// Read gives the contents of a file of at most max bytes. They stand in memory
// once, so that who reads a secret can clear it.
func Read(ctx context.Context, path string, max int) ([]byte, error) {
	return await(ctx, func() ([]byte, error) { return read(path, max) }, func(b []byte) { clear(b) })
}

func read(path string, max int) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, max+1)
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		err = fmt.Errorf("%s: more than %d bytes", path, max)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return buf[:n], nil
	}
	clear(buf)
	return nil, err
}

func open(path string) (*os.File, error) {
	if path == "" {
		return nil, errors.New("empty file name")
	}
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOCTTY, 0)
}

// await gives the result of f unless ctx ends before; then drop gets the result,
// if there ever is one.
func await[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	results := make(chan result)
	go func() {
		v, err := f()
		select {
		case results <- result{v, err}:
		case <-ctx.Done():
			if err == nil {
				drop(v)
			}
		}
	}()
	select {
	case r := <-results:
		return r.v, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
