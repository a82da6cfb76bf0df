package input

import (
	"context"
	"io"
)

// Reader returns a reader whose reads of r end when ctx does. A read that is left behind consumes
// its input, so nothing may read from r after that.
func Reader(ctx context.Context, r io.Reader) io.Reader {
	return &reader{ctx: ctx, r: r}
}

type reader struct {
	ctx context.Context
	r   io.Reader
	buf [64 << 10]byte // a read that is left behind must not write to the caller's p
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
