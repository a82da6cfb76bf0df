package nbd

// chunk reads the payload of struct nbd_structured_reply and reports whether the reply
// ends with it.
func (c *Client) chunk(r *request, head []byte, length uint32) (done bool, err error) {
	flags, typ := be.Uint16(head[4:]), be.Uint16(head[6:])
	if cookie := be.Uint64(head[8:]); cookie != c.cookie {
		return false, broken("it answers request %d, not %d", cookie, c.cookie)
	}
	done = flags&chunkDone != 0
	switch {
	case typ == chunkNone && done && length == 0:
		return true, nil
	case typ == chunkData && r.typ == cmdRead:
		return done, c.dataChunk(r, length)
	case typ == chunkHole && r.typ == cmdRead && length == 12:
		return done, c.holeChunk(r)
	case typ == chunkBlockStatus && r.typ == cmdBlockStatus:
		return done, c.statusChunk(r, length)
	case typ == chunkError, typ == chunkErrorOffset:
		return done, c.errorChunk(r, length)
	}
	return false, broken("a chunk of type %d with %d bytes answers %v", typ, length, r)
}

func (c *Client) dataChunk(r *request, length uint32) error {
	if length <= 8 {
		return broken("a chunk of data has %d bytes", length)
	}
	at, err := c.read(8)
	if err != nil {
		return err
	}
	into, err := r.next(be.Uint64(at), length-8)
	if err != nil {
		return err
	}
	return c.fill(into)
}

func (c *Client) holeChunk(r *request) error {
	b, err := c.read(12)
	if err != nil {
		return err
	}
	into, err := r.next(be.Uint64(b), be.Uint32(b[8:]))
	clear(into)
	return err
}

// next is the room for the next n bytes, which have to be those behind the last ones.
func (r *request) next(off uint64, n uint32) ([]byte, error) {
	if n == 0 || off != uint64(r.off)+uint64(r.got) || uint64(n) > uint64(len(r.data)-r.got) {
		return nil, broken("it sends %d bytes from %d on while %v, of which it has sent %d", n, off, r, r.got)
	}
	into := r.data[r.got:][:n]
	r.got += int(n)
	return into, nil
}

func (c *Client) statusChunk(r *request, length uint32) error {
	if length < 12 || length%8 != 4 || length > 4+8*maxExtents || len(r.extents) > 0 {
		return broken("a block status has %d bytes", length)
	}
	b, err := c.read(int(length))
	if err != nil {
		return err
	}
	if be.Uint32(b) != c.context {
		return broken("it tells the status of context %d", be.Uint32(b))
	}
	for left, b := uint64(r.n), b[4:]; len(b) > 0; b = b[8:] {
		e := extent{be.Uint32(b), be.Uint32(b[4:])&stateZero != 0}
		if e.n == 0 || left == 0 {
			return broken("an extent of %d bytes while %v", e.n, r)
		}
		left -= min(left, uint64(e.n))
		r.extents = append(r.extents, e)
	}
	return nil
}

func (c *Client) errorChunk(r *request, length uint32) error {
	if length < 6 || length > 6+maxMessage+8 {
		return broken("an error has %d bytes", length)
	}
	b, err := c.read(int(length))
	if err != nil {
		return err
	}
	n := int(be.Uint16(b[4:]))
	if n > len(b)-6 {
		return broken("the message of an error has %d bytes", n)
	}
	code := be.Uint32(b)
	if code == 0 {
		return broken("an error has no number")
	}
	if r.refusal == nil {
		r.refusal = &ServerError{r.String(), code, message(b[6:][:n])}
	}
	return nil
}
