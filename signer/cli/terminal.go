package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal opens the controlling terminal, so that reads of it have deadlines.
func openTerminal() (*os.File, error) {
	return os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NONBLOCK, 0)
}

// maxSecret is the longest line that a terminal gives: N_TTY_BUF_SIZE of
// drivers/tty/n_tty.c.
const maxSecret = 4096

// readSecret asks for a line that the terminal does not show, until ctx ends. In
// either case the terminal is then as it was.
func readSecret(ctx context.Context, tty *os.File, prompt string) (line []byte, err error) {
	restore, err := hideInput(tty)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	stop := context.AfterFunc(ctx, func() { tty.SetReadDeadline(time.Now()) })
	defer stop()

	fmt.Fprintf(tty, "%s: ", Printable(prompt))
	defer fmt.Fprintln(tty)
	buf := make([]byte, maxSecret)
	n, err := tty.Read(buf) // one line
	line, whole := bytes.CutSuffix(buf[:n], []byte("\n"))
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && !whole:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		clear(buf)
		return nil, err
	}
	return line, nil
}

// hideInput turns echo off, and makes sure that the terminal gives lines, and
// signals for ^C.
func hideInput(tty *os.File) (restore func() error, err error) {
	conn, err := tty.SyscallConn() // Fd would make reads block for good
	if err != nil {
		return nil, err
	}
	set := func(t *unix.Termios) error {
		var setErr error
		err := conn.Control(func(fd uintptr) { setErr = unix.IoctlSetTermios(int(fd), unix.TCSETS, t) })
		return errors.Join(err, setErr)
	}
	var old *unix.Termios
	var getErr error
	err = conn.Control(func(fd uintptr) { old, getErr = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	if err = errors.Join(err, getErr); err != nil {
		return nil, err
	}
	hidden := *old
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	return func() error { return set(old) }, set(&hidden)
}
