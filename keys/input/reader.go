package input

import (
	"context"
	"io"
)

// Reader makes reads of r end when ctx does. A read that was left behind takes
// what it gets with it, so nothing may read from r afterwards.
func Reader(ctx context.Context, r io.Reader) io.Reader {
	return &reader{ctx: ctx, r: r}
}

type reader struct {
	ctx context.Context
	r   io.Reader
	buf [64 << 10]byte // p is the caller's again once Read returns
}

func (c *reader) Read(p []byte) (int, error) {
	var readErr error
	n, err := await(c.ctx, func() (n int, err error) {
		n, readErr = c.r.Read(c.buf[:min(len(p), len(c.buf))])
		return n, nil
	}, func(int) {})
	if err != nil {
		return 0, err
	}
	return copy(p, c.buf[:n]), readErr
}
