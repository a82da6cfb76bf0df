package main

import (
	"context"
	"io"
)

// cancellable makes reads end when the context does. A read from a terminal or a
// pipe cannot be called off, so it is left behind: the process is about to end.
func cancellable(ctx context.Context, r io.Reader) io.Reader {
	return &cancelReader{ctx: ctx, r: r, results: make(chan readResult, 1)}
}

type cancelReader struct {
	ctx     context.Context
	r       io.Reader
	buf     [64 << 10]byte
	results chan readResult
}

type readResult struct {
	n   int
	err error
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	// Into a buffer of its own: p is the caller's again once Read returns.
	n := min(len(p), len(c.buf))
	go func() {
		n, err := c.r.Read(c.buf[:n])
		c.results <- readResult{n, err}
	}()
	select {
	case r := <-c.results:
		return copy(p, c.buf[:r.n]), r.err
	case <-c.ctx.Done():
		return 0, context.Cause(c.ctx)
	}
}
