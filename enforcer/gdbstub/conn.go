package gdbstub

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

var (
	errSilent = errors.New("no answer in time")
	errHungUp = fmt.Errorf("%w: QEMU closed the connection", guest.ErrEnded)
	errCut    = errors.New("QEMU closed the connection, and goes on")
	errUnseen = errors.New("QEMU closed the connection, and it is not known whether the guest has ended")
)

// conn is a stream socket, with a buffer for what comes in and a batch of what goes out.
type conn struct {
	fd       int
	peer     int           // a pidfd of the process at the other end, not above 0 if that is not known
	patience time.Duration // for what QEMU answers at once
	err      error         // the first there was; nothing is sent or taken any more

	out      []byte   // packets that were not sent yet
	sent     bool     // no reply to the last batch was taken yet
	stopped  bool     // a batch, or opening, has stopped the guest, which ran when it came
	pending  []string // the texts of those whose replies were not taken yet
	orders   int      // to how many of these it has to be OK
	question string   // what the last reply that was taken or waited for belongs to

	buf  [16 << 10]byte // buf[r:w] was received and not yet taken
	r, w int
}

func (c *conn) soon() time.Time { return time.Now().Add(c.patience) }

// write sends at once. What is under way is far less than a socket holds, so there
// is no waiting for a stub that waits for us.
func (c *conn) write(b []byte) error {
	n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EPIPE || err == unix.ECONNRESET:
		return c.hungUp()
	case err != nil:
		return fmt.Errorf("writing: %w", err)
	case n < len(b):
		return fmt.Errorf("it took %d bytes of %d", n, len(b))
	}
	return nil
}

// hungUp tells whether the connection ended because QEMU did. A process closes what it
// has open some time before it is gone.
func (c *conn) hungUp() error {
	switch {
	case c.peer <= 0:
		return errUnseen
	case readable(c.peer, c.soon()) == errSilent:
		return errCut
	}
	return errHungUp
}

// spin is how long a reply that is due at once is looked for again and again: waking up
// from sleep takes as long as QEMU takes to reply, and the guest stands still meanwhile.
const spin = 200 * time.Microsecond

// fill receives more. Who sends all the time gains none.
func (c *conn) fill(until time.Time) error {
	c.r, c.w = 0, copy(c.buf[:], c.buf[c.r:c.w])
	if c.w == len(c.buf) {
		return fmt.Errorf("it sent a packet of more than %d bytes", c.w)
	}
	start := time.Now()
	if start.After(until) {
		return errSilent
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf[c.w:], unix.MSG_DONTWAIT)
		switch {
		case n > 0:
			c.w += n
			return nil
		case err == unix.EAGAIN && time.Since(start) < spin:
			unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // QEMU may need this processor
		case err == unix.EAGAIN:
			if err := readable(c.fd, until); err != nil {
				return err
			}
		case err == nil || err == unix.ECONNRESET:
			return c.hungUp()
		case err != unix.EINTR:
			return fmt.Errorf("reading: %w", err)
		}
	}
}

// readable waits until there is something to read.
func readable(fd int, until time.Time) error {
	for {
		limit := unix.NsecToTimespec(max(0, int64(time.Until(until))))
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, &limit, nil)
		switch {
		case n > 0:
			return nil
		case err == nil:
			return errSilent
		case err != unix.EINTR:
			return fmt.Errorf("waiting: %w", err)
		}
	}
}

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
		c.obey()
	}
	return c.err
}

func (c *conn) obey() {
	p := string(c.take(c.soon()))
	if p != "OK" && !(p == "E22" && c.question[0] == 'z') {
		c.refuse([]byte(p))
	}
}

// reply sends the batch and takes the first reply behind those to orders. It is good
// until the next call, and nil after an error.
func (c *conn) reply() []byte {
	c.obeyed()
	return c.take(c.soon())
}

// take takes the next reply, which may instead be that QEMU exits. The first of a batch tells whether
// the guest stood still when that came.
func (c *conn) take(until time.Time) []byte {
	if c.err != nil {
		return nil
	}
	c.question = c.pending[0]
	c.send()
	p := c.next(until)
	for c.sent && len(p) > 0 && p[0] == 'T' { // of a stop before the batch
		p = c.next(until)
	}
	if c.sent && c.err == nil {
		if c.sent = false; len(p) > 0 {
			c.stopped = true
		} else {
			p = c.next(until)
		}
	}
	c.pending = c.pending[1:]
	return p
}

// next takes the next packet, whatever it is, or fails.
func (c *conn) next(until time.Time) []byte {
	if c.err != nil {
		return nil
	}
	p, err := c.receive(until)
	if err == nil && len(p) > 0 && (p[0] == 'W' || p[0] == 'X') {
		err = fmt.Errorf("%w: QEMU exits (%q)", guest.ErrEnded, p)
	}
	c.fail(err)
	return p
}

// send sends the batch, if that was not done yet, behind an empty packet: one of a guest that
// stands still is answered with another, and one of a guest that runs stops it and is lost.
func (c *conn) send() {
	if len(c.out) > 0 {
		c.fail(c.write(append([]byte("$#00"), c.out...)))
		c.out, c.sent = c.out[:0], true
	}
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
	var stood, told bool
	until := c.soon()
	err := c.write([]byte("\x03$#00$qC#b4"))
	for err == nil {
		b := c.buf[c.r:c.w]
		stood, told = stood || bytes.Contains(b, []byte("$#00")), told || bytes.Contains(b, []byte("$T02"))
		if i := bytes.Index(b, []byte("$QC")); i >= 0 {
			c.r += i
			_, err = c.receive(until)
			break
		}
		c.r = max(c.r, c.w-len("$T0"))
		err = c.fill(until)
	}
	c.stopped = told || !stood
	return err
}
