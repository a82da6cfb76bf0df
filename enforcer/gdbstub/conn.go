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
	errSilent     = errors.New("no answer in time")
	errHungUp     = fmt.Errorf("%w: QEMU closed the connection", guest.ErrEnded)
	errDropped    = errors.New("QEMU closed the connection, but still runs")
	errUnknownEnd = errors.New("QEMU closed the connection, and it is not known whether the guest has ended")
)

// conn is a stream socket with a buffer for input and a batch of packets to be sent.
type conn struct {
	fd      int
	peer    int           // pidfd of the process at the other end; not above 0 if it is not known
	timeout time.Duration // for replies that QEMU sends at once
	err     error         // the first error; after it nothing is sent or received

	out     []byte   // the batch: packets that were not sent yet
	sent    bool     // no reply to the last batch was taken yet
	stopped bool     // the last batch, or opening, has stopped a running guest
	pending []string // texts of the packets whose replies were not taken yet
	oks     int      // number of packets in pending whose reply must be OK
	current string   // text of the packet whose reply was taken or awaited last

	buf  [16 << 10]byte // buf[r:w] was received and not taken yet
	r, w int
}

func (c *conn) deadline() time.Time { return time.Now().Add(c.timeout) }

// write sends without waiting. The pending packets are far smaller than a socket buffer, so it
// never has to wait for a stub that waits for us.
func (c *conn) write(b []byte) error {
	n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EPIPE || err == unix.ECONNRESET:
		return c.hungUp()
	case err != nil:
		return fmt.Errorf("writing: %w", err)
	case n < len(b):
		return fmt.Errorf("the socket took %d bytes of %d", n, len(b))
	}
	return nil
}

// hungUp returns an error that says whether the connection ended because QEMU did. A process closes
// its files some time before it is gone.
func (c *conn) hungUp() error {
	switch {
	case c.peer <= 0:
		return errUnknownEnd
	case readable(c.peer, c.deadline()) == errSilent:
		return errDropped
	}
	return errHungUp
}

// spin is how long a reply is polled for before the process sleeps. Waking up takes as long as QEMU
// takes to reply, and the guest stands still meanwhile.
const spin = 200 * time.Microsecond

// fill receives more input. A peer that keeps sending does not extend the deadline.
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

// ask adds a packet to the batch. Replies arrive in the order of the packets.
func (c *conn) ask(format string, args ...any) {
	if c.err != nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	c.out = fmt.Appendf(c.out, "$%s#%02x", text, sum([]byte(text)))
	c.pending = append(c.pending, text)
}

// askOK adds a packet whose reply must be OK. In a batch these come first.
func (c *conn) askOK(format string, args ...any) {
	c.ask(format, args...)
	c.oks++
}

// takeOKs sends the batch and takes the replies to the packets of askOK. The reply for removing a
// trap that does not exist counts as OK.
func (c *conn) takeOKs() error {
	for ; c.oks > 0; c.oks-- {
		c.takeOK()
	}
	return c.err
}

func (c *conn) takeOK() {
	p := string(c.take(c.deadline()))
	if p != "OK" && !(p == "E22" && c.current[0] == 'z') {
		c.unexpected([]byte(p))
	}
}

// reply sends the batch and takes the first reply after those of askOK. The reply is valid until
// the next call, and nil after an error.
func (c *conn) reply() []byte {
	c.takeOKs()
	return c.take(c.deadline())
}

// take takes the next reply, or the notice that QEMU exits. With the first reply of a batch it
// notes whether the guest was running when the batch arrived.
func (c *conn) take(until time.Time) []byte {
	if c.err != nil {
		return nil
	}
	c.current = c.pending[0]
	c.send()
	p := c.next(until)
	for c.sent && len(p) > 0 && p[0] == 'T' { // a stop before the batch
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

// next takes the next packet of any kind.
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

// send sends the batch, unless that is done, after an empty packet. A stopped guest answers the
// empty packet. A running guest is stopped by it, and the packet is lost.
func (c *conn) send() {
	if len(c.out) > 0 {
		c.fail(c.write(append([]byte("$#00"), c.out...)))
		c.out, c.sent = c.out[:0], true
	}
}

// fail keeps the first error, and the packet that it belongs to.
func (c *conn) fail(err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("asking QEMU for %q: %w", c.current, err)
	}
}

// unexpected fails because of an unexpected reply.
func (c *conn) unexpected(p []byte) {
	c.fail(fmt.Errorf("it answered %q", p[:min(len(p), 64)]))
}

// receive returns the text of the next packet.
func (c *conn) receive(until time.Time) ([]byte, error) {
	for {
		b := bytes.TrimLeft(c.buf[c.r:c.w], "+") // acknowledgements
		if len(b) > 0 && b[0] != '$' {
			return nil, fmt.Errorf("it sent %q instead of a packet", b[0])
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

// sync stops the guest if it runs, and drops everything that was sent before: the report of that
// stop, the rejection of an incomplete packet, replies to a process that has died. The empty packet
// may be lost with these remains. Only a stopped guest answers qC. sync works after errors, too.
func (c *conn) sync() error {
	var stoppedBefore, notified bool
	until := c.deadline()
	err := c.write([]byte("\x03$#00$qC#b4"))
	for err == nil {
		b := c.buf[c.r:c.w]
		stoppedBefore, notified = stoppedBefore || bytes.Contains(b, []byte("$#00")), notified || bytes.Contains(b, []byte("$T02"))
		if i := bytes.Index(b, []byte("$QC")); i >= 0 {
			c.r += i
			_, err = c.receive(until)
			break
		}
		c.r = max(c.r, c.w-len("$T0"))
		err = c.fill(until)
	}
	c.stopped = notified || !stoppedBefore
	return err
}
