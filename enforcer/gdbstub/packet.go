package gdbstub

import (
	"bytes"
	"fmt"
	"time"
)

// interrupt stops a running guest. It is no packet and has no acknowledgement.
const interrupt = 0x03

// queue adds a packet to what flush will send.
func (c *conn) queue(format string, args ...any) {
	start := len(c.out) + 1
	c.out = fmt.Appendf(append(c.out, '$'), format, args...)
	c.out = fmt.Appendf(c.out, "#%02x", sum(c.out[start:]))
	c.unacked++
}

func sum(text []byte) (sum byte) {
	for _, b := range text {
		sum += b
	}
	return sum
}

// receive takes the text of the next packet. It is good until the next call.
func (c *conn) receive(until time.Time) ([]byte, error) {
	for {
		b := c.buf[c.r:c.w]
		switch {
		case len(b) == 0:
		case b[0] == '+' && c.unacked > 0:
			c.unacked--
			c.r++
			continue
		case b[0] != '$':
			return nil, fmt.Errorf("QEMU sent %q where a packet begins", b[0])
		default:
			if end := bytes.IndexByte(b, '#'); end >= 0 && end+2 < len(b) {
				c.r += end + 3
				return checked(b[1:end], b[end+1:end+3])
			}
		}
		if err := c.fill(until); err != nil {
			return nil, err
		}
	}
}

func checked(text, digits []byte) ([]byte, error) {
	const hex = "0123456789abcdef"
	if s := sum(text); digits[0] != hex[s>>4] || digits[1] != hex[s&15] {
		return nil, fmt.Errorf("QEMU sent %q with the checksum %q, which is %02x", brief(text), digits, s)
	}
	return text, nil
}

// brief is as much of a reply as a message should hold.
func brief(text []byte) []byte { return text[:min(len(text), 64)] }

// ask sends a packet and takes the reply.
func (c *conn) ask(format string, args ...any) ([]byte, error) {
	c.queue(format, args...)
	if err := c.flush(); err != nil {
		return nil, err
	}
	return c.receive(c.soon())
}

// ok takes the reply to a packet that wants something done.
func (c *conn) ok() error {
	p, err := c.receive(c.soon())
	if err == nil && string(p) != "OK" {
		err = fmt.Errorf("QEMU answered %q", brief(p))
	}
	return err
}

// sync stops the guest if it runs and drops all that was sent before: the notice of
// that stop, the remark that an unfinished packet of somebody else was not
// understood, replies to a process that has died. The empty packet is there to be
// lost with such remains. Only a stopped guest answers qC.
func (c *conn) sync() error {
	c.out = append(c.out[:0], interrupt)
	c.queue("")
	c.queue("qC")
	if err := c.flush(); err != nil {
		return err
	}
	until := c.soon()
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte("$QC")); i >= 0 {
			c.r += i
			break
		}
		c.r = max(c.r, c.w-2) // what the reply may have begun with
		if err := c.fill(until); err != nil {
			return err
		}
	}
	c.unacked = 0
	_, err := c.receive(until)
	return err
}
