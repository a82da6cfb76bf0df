package nbd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A Conn is the connection to a server, such as a net.Conn.
type Conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Options are for New.
type Options struct {
	Export string        // the name of the export
	Name   string        // of the device, for people
	Limit  time.Duration // how long one request may take; 0 for a limit far above what is normal
}

// normally is the limit where none is given. A disk that sleeps or is very busy takes
// seconds; to flush, it may have gigabytes to write.
const normally = 5 * time.Minute

// A Client is one connection to an export. It may be used by several goroutines at once.
type Client struct {
	conn  Conn
	in    *bufio.Reader
	name  string
	limit time.Duration

	size       int64
	flags      uint16 // of the transmission
	structured bool   // replies are
	hasContext bool
	context    uint32 // the number of base:allocation

	mu     sync.Mutex // one request at a time
	cookie uint64
	dead   error // why the connection is of no use any more
}

var _ block.Device = (*Client)(nil)

// New does the handshake on a connection, which it closes if that fails.
func New(conn Conn, o Options) (*Client, error) {
	c := &Client{conn: conn, in: bufio.NewReader(conn), name: o.Name, limit: o.Limit}
	if c.limit == 0 {
		c.limit = normally
	}
	err := conn.SetDeadline(time.Now().Add(c.limit))
	if err == nil {
		err = c.negotiate(o.Export)
	}
	if err != nil {
		return nil, errors.Join(c.late(err), conn.Close())
	}
	return c, nil
}

// late says of an error that the server took too long, if that is what it is.
func (c *Client) late(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the NBD server has not answered for %v: %w", c.limit, err)
	}
	return err
}

// Name is what people call the device.
func (c *Client) Name() string { return c.name }

// Size is how large the export is.
func (c *Client) Size() int64 { return c.size }

// ReadAt reads up to the end, which is io.EOF.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at %d: outside of %s", off, c.name)
	}
	var end error
	if off >= c.size {
		return 0, io.EOF
	}
	if int64(len(p)) > c.size-off {
		p, end = p[:c.size-off], io.EOF
	}
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxPayload)
		if err := c.do(&request{typ: cmdRead, off: off + int64(done), n: uint32(n), data: p[done:][:n]}); err != nil {
			return done, err
		}
		done += n
	}
	return done, end
}

// WriteAt writes. What is nothing but zeros becomes a hole where the server can make one.
func (c *Client) WriteAt(p []byte, off int64) (int, error) {
	if err := c.checkWrite(off, int64(len(p))); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		b := p[done:][:min(len(p)-done, maxPayload)]
		r := &request{typ: cmdWrite, off: off + int64(done), n: uint32(len(b)), data: b}
		if c.flags&flagWriteZeroes != 0 && block.AllZero(b) {
			r.typ, r.data = cmdWriteZeroes, nil
		}
		if err := c.do(r); err != nil {
			return done, err
		}
		done += len(b)
	}
	return done, nil
}

func (c *Client) checkWrite(off, n int64) error {
	if off < 0 || off > c.size || n > c.size-off {
		return fmt.Errorf("writing %d bytes at %d: outside of %s, which has %d bytes", n, off, c.name, c.size)
	}
	if c.flags&flagReadOnly != 0 {
		return fmt.Errorf("writing %d bytes at %d: %s is exported read-only", n, off, c.name)
	}
	return nil
}

// Forget does nothing: a server's host keeps what it likes, and whoever has started the
// server knows of what.
func (c *Client) Forget() error { return nil }

// Sync makes all that was written durable.
func (c *Client) Sync() error {
	if c.flags&flagFlush == 0 {
		return nil
	}
	return c.do(&request{typ: cmdFlush})
}

// Data asks the server which ranges may hold data. Where it cannot tell, all is data.
func (c *Client) Data(from, to int64) iter.Seq[block.Range] {
	return func(yield func(block.Range) bool) {
		found := block.Range{Start: from, End: from} // what was found and may go on
		for at := from; at < to; {
			extents, err := c.status(at, min(to-at, maxStatus))
			if err != nil {
				found = extend(found, block.Range{Start: at, End: to}, yield)
				break
			}
			for _, e := range extents {
				end := min(at+int64(e.n), to)
				if !e.zero {
					if found = extend(found, block.Range{Start: at, End: end}, yield); found.End < 0 {
						return
					}
				}
				at = end
			}
		}
		if found.Start < found.End {
			yield(found)
		}
	}
}

// extend joins two ranges that touch, or else yields the first and goes on with the
// second. An end below zero says that no more is wanted.
func extend(a, b block.Range, yield func(block.Range) bool) block.Range {
	switch {
	case a.End == b.Start && a.Start < a.End:
		return block.Range{Start: a.Start, End: b.End}
	case a.Start < a.End && !yield(a):
		return block.Range{End: -1}
	}
	return b
}

// Close ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return nil // it is closed
	}
	c.dead = fmt.Errorf("%s is closed", c.name)
	c.conn.SetDeadline(time.Now().Add(c.limit))
	// There is no reply, and a server that has gone already does no harm.
	c.write((&request{typ: cmdDisconnect}).head(c.cookie + 1))
	return c.conn.Close()
}

// Broken is why the connection is of no use any more; nil if it is.
func (c *Client) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}
