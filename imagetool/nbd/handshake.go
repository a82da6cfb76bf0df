package nbd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// negotiate goes from the server's greeting to the transmission phase.
func (c *Client) negotiate(export string) error {
	greeting, err := c.read(18)
	if err != nil {
		return err
	}
	if be.Uint64(greeting) != magicInit || be.Uint64(greeting[8:]) != magicOption {
		return broken("it does not greet as a newstyle server does")
	}
	flags := be.Uint16(greeting[16:])
	if flags&fixedNewstyle == 0 {
		return broken("it does not know the fixed newstyle handshake")
	}
	if err := c.write(be.AppendUint32(nil, uint32(flags&(fixedNewstyle|noZeroes)))); err != nil {
		return err
	}
	if c.structured, err = c.offer(optStructuredReply, nil, nil); err != nil {
		return err
	}
	if c.structured {
		if err := c.chooseContext(export); err != nil {
			return err
		}
	}
	return c.enter(export, flags&noZeroes != 0)
}

// chooseContext asks for what tells holes from data.
func (c *Client) chooseContext(export string) error {
	query := withLength(nil, export)
	query = be.AppendUint32(query, 1)
	query = withLength(query, allocation)
	_, err := c.offer(optSetMetaContext, query, func(typ uint32, data []byte) error {
		if typ != repMetaContext || len(data) != 4+len(allocation) || string(data[4:]) != allocation || c.hasContext {
			return broken("it names a context that was not asked for")
		}
		c.context, c.hasContext = be.Uint32(data), true
		return nil
	})
	return err
}

// enter chooses the export and ends the handshake.
func (c *Client) enter(export string, short bool) error {
	known := false
	request := be.AppendUint16(withLength(nil, export), 0) // no more information than there has to be
	ok, err := c.offer(optGo, request, func(typ uint32, data []byte) error {
		switch {
		case typ != repInfo || len(data) < 2:
			return broken("it answers NBD_OPT_GO with a reply of type %d", typ)
		case be.Uint16(data) != infoExport:
			return nil // block sizes for instance, which are advice to who has not asked for them
		case len(data) != 12 || known:
			return broken("it describes the export in %d bytes", len(data))
		}
		known = true
		return c.describe(be.Uint64(data[2:]), be.Uint16(data[10:]))
	})
	switch {
	case err != nil:
		return err
	case ok && !known:
		return broken("it does not say how large the export is")
	case ok:
		return nil
	}
	return c.enterByName(export, short)
}

// enterByName is for servers older than NBD_OPT_GO, which hang up if they do not like
// the name.
func (c *Client) enterByName(export string, short bool) error {
	if err := c.option(optExportName, []byte(export)); err != nil {
		return err
	}
	n := 10 + 124 // reserved zeros
	if short {
		n = 10
	}
	b, err := c.read(n)
	if err != nil {
		return err
	}
	return c.describe(be.Uint64(b), be.Uint16(b[8:]))
}

func (c *Client) describe(size uint64, flags uint16) error {
	if size > 1<<62 {
		return broken("an export of %d bytes is impossible", size)
	}
	c.size, c.flags = int64(size), flags
	return nil
}

// offer sends an option and hands what is not its end to each. It reports whether the
// server knows the option; every other refusal is an error.
func (c *Client) offer(option uint32, data []byte, each func(typ uint32, data []byte) error) (bool, error) {
	if err := c.option(option, data); err != nil {
		return false, err
	}
	for range maxReplies {
		typ, data, err := c.optionReply(option)
		switch {
		case err != nil:
			return false, err
		case typ == repAck:
			if len(data) > 0 {
				return false, broken("it acknowledges option %d with %d bytes", option, len(data))
			}
			return true, nil
		case typ == repErrUnsup:
			return false, nil
		case typ&repError != 0:
			return false, &ServerError{fmt.Sprintf("option %d of the handshake", option), typ &^ repError, message(data)}
		case each == nil:
			return false, broken("it answers option %d with a reply of type %d", option, typ)
		}
		if err := each(typ, data); err != nil {
			return false, err
		}
	}
	return false, broken("it has more than %d replies to option %d", maxReplies, option)
}

func (c *Client) option(option uint32, data []byte) error {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, uint32(len(data)))
	return c.write(append(b, data...))
}

func (c *Client) optionReply(option uint32) (typ uint32, data []byte, err error) {
	head, err := c.read(20)
	if err != nil {
		return 0, nil, err
	}
	if be.Uint64(head) != magicReply || be.Uint32(head[8:]) != option {
		return 0, nil, broken("it does not answer option %d", option)
	}
	n := be.Uint32(head[16:])
	if n > maxOptionReply {
		return 0, nil, broken("it answers option %d with %d bytes", option, n)
	}
	data, err = c.read(int(n))
	return be.Uint32(head[12:]), data, err
}

func withLength(b []byte, s string) []byte {
	return append(be.AppendUint32(b, uint32(len(s))), s...)
}

// message makes one line of what a server says to people.
func message(b []byte) string {
	b = b[:min(len(b), maxMessage)]
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, bytes.ToValidUTF8(b, []byte("?"))))
}

// read gives the next n bytes. That the connection ends there is an error, too.
func (c *Client) read(n int) ([]byte, error) {
	b := make([]byte, n)
	return b, c.fill(b)
}

func (c *Client) fill(b []byte) error {
	_, err := io.ReadFull(c.in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return errHungUp
	}
	if err != nil {
		return fmt.Errorf("reading from the NBD server: %w", err)
	}
	return nil
}

var errHungUp = errors.New("the NBD server has hung up")

func (c *Client) write(b []byte) error {
	_, err := c.conn.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return errHungUp
	}
	if err != nil {
		return fmt.Errorf("writing to the NBD server: %w", err)
	}
	return nil
}
