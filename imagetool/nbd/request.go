package nbd

import (
	"errors"
	"fmt"
	"time"
)

// A request is one of the transmission phase, with room for what answers it.
type request struct {
	typ     uint16
	off     int64
	n       uint32
	data    []byte // what is to be written, or where what is read goes
	got     int    // of data, so far
	extents []extent
	refusal *ServerError
}

// An extent is a stretch of a disk that is all zero or not.
type extent struct {
	n    uint32
	zero bool
}

func (r *request) String() string {
	verb := map[uint16]string{cmdRead: "reading", cmdWrite: "writing", cmdWriteZeroes: "zeroing", cmdBlockStatus: "looking for holes in"}[r.typ]
	if verb == "" {
		return "flushing"
	}
	return fmt.Sprintf("%s %d bytes at %d", verb, r.n, r.off)
}

// head is struct nbd_request.
func (r *request) head(cookie uint64) []byte {
	b := be.AppendUint32(nil, magicRequest)
	b = be.AppendUint16(b, 0) // no flags
	b = be.AppendUint16(b, r.typ)
	b = be.AppendUint64(b, cookie)
	b = be.AppendUint64(b, uint64(r.off))
	return be.AppendUint32(b, r.n)
}

// status tells what begins at an offset: one extent or more, up to n bytes or somewhat
// beyond.
func (c *Client) status(off, n int64) ([]extent, error) {
	if !c.hasContext {
		return nil, errors.New("the NBD server does not tell holes from data")
	}
	r := &request{typ: cmdBlockStatus, off: off, n: uint32(n)}
	err := c.do(r)
	if err == nil && len(r.extents) == 0 {
		err = broken("it tells no extents")
	}
	return r.extents, err
}

// do sends a request and waits for the end of its reply. Whatever is not a *ServerError
// ends the connection, since what comes next cannot be told from the rest of this reply.
func (c *Client) do(r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	err := c.conn.SetDeadline(time.Now().Add(c.limit))
	if err == nil {
		err = c.exchange(r)
	}
	if _, ok := errors.AsType[*ServerError](err); ok || err == nil {
		return err
	}
	c.dead = fmt.Errorf("%v: %w", r, c.late(err))
	c.conn.Close()
	return c.dead
}

func (c *Client) exchange(r *request) error {
	c.cookie++
	b := r.head(c.cookie)
	if r.typ == cmdWrite {
		b = append(b, r.data...)
	}
	if err := c.write(b); err != nil {
		return err
	}
	for refusals := 0; refusals <= maxErrors; {
		done, err := c.reply(r)
		if err != nil {
			return err
		}
		if done {
			return r.result()
		}
		if r.refusal != nil {
			refusals++
		}
	}
	return broken("it has more than %d errors for one request", maxErrors)
}

// result is what a reply that is complete amounts to.
func (r *request) result() error {
	if r.refusal != nil {
		return r.refusal
	}
	if r.typ == cmdRead && r.got != len(r.data) {
		return broken("it has sent %d of %d bytes", r.got, len(r.data))
	}
	return nil
}

// reply reads one simple reply or one chunk, and reports whether it is the last.
func (c *Client) reply(r *request) (done bool, err error) {
	head, err := c.read(16)
	if err != nil {
		return false, err
	}
	switch magic := be.Uint32(head); {
	case magic == magicStructured && c.structured:
		length, err := c.read(4)
		if err != nil {
			return false, err
		}
		return c.chunk(r, head, be.Uint32(length))
	case magic != magicSimple:
		return false, broken("a reply begins with %#x", magic)
	case c.structured && (r.typ == cmdRead || r.typ == cmdBlockStatus):
		return false, broken("the reply to a request that has data is not structured")
	}
	if cookie := be.Uint64(head[8:]); cookie != c.cookie {
		return false, broken("it answers request %d, not %d", cookie, c.cookie)
	}
	if code := be.Uint32(head[4:]); code != 0 {
		r.refusal = &ServerError{r.String(), code, ""}
		return true, nil
	}
	if r.typ == cmdRead {
		r.got = len(r.data)
		return true, c.fill(r.data)
	}
	return true, nil
}
