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
)

// conn is a stream socket that does not block, with a buffer each way.
type conn struct {
	fd       int
	peer     int           // a pidfd of the process at the other end, 0 if that is not known
	patience time.Duration // for what QEMU answers at once
	err      error         // the first there was; nothing is sent or taken any more

	out      []byte // a batch of packets
	sent     bool
	asked    int    // the replies to out[asked:] were not taken yet
	orders   int    // to how many of these it has to be OK
	question []byte // what the last reply that was taken or waited for belongs to

	buf  [16 << 10]byte // buf[r:w] was received and not yet taken
	r, w int
	poll [1]unix.PollFd
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
	until := time.Now().Add(c.patience)
	for left := c.patience; c.peer > 0 && left > 0; left = time.Until(until) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.peer), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if n > 0 || err != nil && err != unix.EINTR {
			return errHungUp
		}
		if n == 0 && err == nil {
			return errCut
		}
	}
	return errHungUp
}

// spin is how long a reply that is due at once is looked for again and again: waking up
// from sleep takes as long as QEMU takes to reply, and the guest stands still meanwhile.
const spin = 200 * time.Microsecond

// fill receives more, and waits for ever if until is zero.
func (c *conn) fill(until time.Time) error {
	c.r, c.w = 0, copy(c.buf[:], c.buf[c.r:c.w])
	if c.w == len(c.buf) {
		return fmt.Errorf("it sent a packet of more than %d bytes", c.w)
	}
	var awake time.Time
	if !until.IsZero() {
		awake = time.Now().Add(spin)
	}
	for {
		n, err := unix.Read(c.fd, c.buf[c.w:]) // which does not wait
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && time.Now().Before(awake):
			unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // QEMU may need this processor
		case err == unix.EAGAIN:
			if err := c.wait(until); err != nil {
				return err
			}
		case err == unix.ECONNRESET || err == nil && n == 0:
			return c.hungUp()
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		default:
			c.w += n
			return nil
		}
	}
}

// wait waits until there is something to receive, or somebody wakes us for nothing. Who
// sends all the time gains none.
func (c *conn) wait(until time.Time) error {
	var limit *unix.Timespec
	if !until.IsZero() {
		left := time.Until(until)
		if left <= 0 {
			return errSilent
		}
		t := unix.NsecToTimespec(int64(left))
		limit = &t
	}
	c.poll[0] = unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}
	if _, err := unix.Ppoll(c.poll[:], limit, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("waiting: %w", err)
	}
	return nil
}
