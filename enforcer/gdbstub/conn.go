package gdbstub

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// patience is how long QEMU may take for what it answers at once. It flushes the
// guest's disks when it stops, and does nothing else meanwhile.
const patience = 30 * time.Second

var (
	errSilent = errors.New("no answer in time")
	errHungUp = fmt.Errorf("%w: QEMU closed the connection", guest.ErrEnded)
)

// conn is a stream socket with a buffer each way. What is sent at a time is far
// less than a socket holds, so that writing never waits for a stub that waits for us.
type conn struct {
	fd       int
	patience time.Duration
	out      []byte         // packets to be sent
	buf      [16 << 10]byte // received and not yet taken: buf[r:w]
	r, w     int
	unacked  int // packets sent whose '+' has not come
	poll     [1]unix.PollFd
}

func dial(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (c *conn) soon() time.Time { return time.Now().Add(c.patience) }

// flush sends what was queued.
func (c *conn) flush() error {
	until := c.soon()
	b := c.out
	c.out = c.out[:0]
	for len(b) > 0 {
		if err := c.wait(unix.POLLOUT, until); err != nil {
			return err
		}
		n, err := unix.Write(c.fd, b)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
			return errHungUp
		case err != nil:
			return fmt.Errorf("writing to QEMU: %w", err)
		default:
			b = b[n:]
		}
	}
	return nil
}

// fill receives more, in no time set if until is zero.
func (c *conn) fill(until time.Time) error {
	c.r, c.w = 0, copy(c.buf[:], c.buf[c.r:c.w])
	if c.w == len(c.buf) {
		return fmt.Errorf("QEMU sent a packet of more than %d bytes", len(c.buf))
	}
	if err := c.wait(unix.POLLIN, until); err != nil {
		return err
	}
	n, err := unix.Read(c.fd, c.buf[c.w:])
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
	case errors.Is(err, unix.ECONNRESET), err == nil && n == 0:
		return errHungUp
	case err != nil:
		return fmt.Errorf("reading from QEMU: %w", err)
	default:
		c.w += n
	}
	return nil
}

// wait waits until the socket is ready. A peer that keeps it ready gains no time.
func (c *conn) wait(events int16, until time.Time) error {
	for {
		ms := -1
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return errSilent
			}
			ms = int(min((left+time.Millisecond-1)/time.Millisecond, 1<<30))
		}
		c.poll[0] = unix.PollFd{Fd: int32(c.fd), Events: events}
		n, err := unix.Poll(c.poll[:], ms)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for QEMU: %w", err)
		}
	}
}
