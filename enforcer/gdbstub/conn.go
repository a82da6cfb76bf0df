package gdbstub

import (
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

// fill receives more, and waits for ever if until is zero. Who sends all the time gains
// none.
func (c *conn) fill(until time.Time) error {
	c.r, c.w = 0, copy(c.buf[:], c.buf[c.r:c.w])
	if c.w == len(c.buf) {
		return fmt.Errorf("it sent a packet of more than %d bytes", c.w)
	}
	start := time.Now()
	if !until.IsZero() && start.After(until) {
		return errSilent
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf[c.w:], unix.MSG_DONTWAIT)
		switch {
		case n > 0:
			c.w += n
			return nil
		case err == unix.EAGAIN && !until.IsZero() && time.Since(start) < spin:
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

// readable waits until there is something to read, for ever if until is zero.
func readable(fd int, until time.Time) error {
	for {
		var limit *unix.Timespec
		if !until.IsZero() {
			t := unix.NsecToTimespec(max(0, int64(time.Until(until))))
			limit = &t
		}
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, limit, nil)
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
