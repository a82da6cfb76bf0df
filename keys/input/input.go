package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Open opens a file. Like those of a Reader, its reads end when ctx does.
func Open(ctx context.Context, path string) (io.ReadCloser, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{Reader(ctx, f), f}, nil
}

// Read returns the contents of a file of at most max bytes. They exist in memory only once, so that
// a caller who reads a secret can clear it.
func Read(ctx context.Context, path string, max int) ([]byte, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) { return read(f, path, max) }, func(b []byte) { clear(b) })
}

func read(f *os.File, path string, max int) ([]byte, error) {
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

// openTimeout is how long opening a pipe waits for the other end.
var openTimeout = 10 * time.Second

func open(ctx context.Context, path string) (*os.File, error) {
	if path == "" {
		return nil, errors.New("empty file name")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, fmt.Errorf("%s: a pipe that nobody writes to", path))
	defer cancel()
	return await(ctx,
		func() (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|syscall.O_NOCTTY, 0) },
		func(f *os.File) { f.Close() })
}

// await returns the result of f, unless ctx ends first. In that case drop receives the result if f
// still returns one.
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
