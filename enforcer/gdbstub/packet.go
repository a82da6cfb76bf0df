package gdbstub

import (
	"bytes"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// ask adds a packet to the batch. Replies come in the order of the packets.
func (c *conn) ask(format string, args ...any) {
	if c.err != nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	c.out = fmt.Appendf(c.out, "$%s#%02x", text, sum([]byte(text)))
	c.pending = append(c.pending, text)
}

// order asks for what is answered by OK. In a batch, orders come first.
func (c *conn) order(format string, args ...any) {
	c.ask(format, args...)
	c.orders++
}

// obeyed sends the batch and takes the replies to its orders. To remove a trap that
// is not there is an order obeyed.
func (c *conn) obeyed() error {
	for ; c.orders > 0; c.orders-- {
		p := string(c.take(c.soon()))
		if p != "OK" && !(p == "E22" && c.question[0] == 'z') {
			c.refuse([]byte(p))
		}
	}
	return c.err
}

// reply sends the batch and takes the first reply behind those to orders. It is good
// until the next call, and nil after an error.
func (c *conn) reply() []byte {
	c.obeyed()
	return c.take(c.soon())
}

// take takes the next reply, which may instead be that QEMU exits.
func (c *conn) take(until time.Time) []byte {
	if c.err != nil {
		return nil
	}
	c.question = c.pending[0]
	if c.send() != nil {
		return nil
	}
	p, err := c.receive(until)
	if err == nil && len(p) > 0 && (p[0] == 'W' || p[0] == 'X') {
		err = fmt.Errorf("%w: QEMU exits (%q)", guest.ErrEnded, p)
	}
	if c.fail(err); err != nil {
		return nil
	}
	c.pending = c.pending[1:]
	return p
}

// send sends the batch, if that was not done yet.
func (c *conn) send() error {
	if c.err == nil && len(c.out) > 0 {
		c.fail(c.write(c.out))
		c.out = c.out[:0]
	}
	return c.err
}

// fail keeps the first error, if there is one, and what it was about.
func (c *conn) fail(err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("asking QEMU for %q: %w", c.question, err)
	}
}

// refuse is for a reply that does not fit.
func (c *conn) refuse(p []byte) {
	c.fail(fmt.Errorf("it answered %q", p[:min(len(p), 64)]))
}

// receive takes the text of the next packet.
func (c *conn) receive(until time.Time) ([]byte, error) {
	for {
		b := bytes.TrimLeft(c.buf[c.r:c.w], "+") // it understood
		if len(b) > 0 && b[0] != '$' {
			return nil, fmt.Errorf("it sent %q where a packet begins", b[0])
		}
		if end := bytes.IndexByte(b, '#'); end >= 0 && end+2 < len(b) {
			text, check := b[1:end], string(b[end+1:end+3])
			if s := fmt.Sprintf("%02x", sum(text)); s != check {
				return nil, fmt.Errorf("it answered with the checksum %q, not %s", check, s)
			}
			c.r = c.w - len(b) + end + 3
			return text, nil
		}
		if err := c.fill(until); err != nil {
			return nil, err
		}
	}
}

func sum(text []byte) (sum byte) {
	for _, b := range text {
		sum += b
	}
	return sum
}

// sync stops the guest if it runs, and drops all that was sent before: the notice of
// that stop, the remark that somebody's unfinished packet was not understood, replies
// to a process that has died. The empty packet is there to be lost with such remains.
// Only a stopped guest answers qC. It works after errors, too.
func (c *conn) sync() error {
	const answer = "$QC"
	until := c.soon()
	err := c.write([]byte("\x03$#00$qC#b4"))
	for err == nil && !bytes.Contains(c.buf[c.r:c.w], []byte(answer)) {
		c.r = max(c.r, c.w-len(answer)+1)
		err = c.fill(until)
	}
	if err == nil {
		c.r += bytes.Index(c.buf[c.r:c.w], []byte(answer))
		_, err = c.receive(until)
	}
	return err
}
