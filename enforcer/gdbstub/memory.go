package gdbstub

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const (
	pieceSize = packetSize / 2 // of memory that the stub reads at once
	batchSize = 64             // pieces, requests for which the stub receives at once
)

// piece of a range.
type piece struct {
	r   *guest.Range
	off int
	buf []byte
}

// Read fills the ranges as the virtual CPU's page tables have it.
func (g *Guest) Read(vcpu int, ranges []guest.Range) error {
	if g.running {
		return errRunning
	}
	g.pieces = g.pieces[:0]
	for i := range ranges {
		r := &ranges[i]
		r.Err = nil
		for off := 0; off < len(r.Buf); off += pieceSize {
			g.pieces = append(g.pieces, piece{r, off, r.Buf[off:min(off+pieceSize, len(r.Buf))]})
		}
	}
	if err := g.selectVCPU(vcpu); err != nil {
		return err
	}
	for batch := range slices.Chunk(g.pieces, batchSize) {
		for _, p := range batch {
			g.c.ask("m%x,%x", p.r.Addr+uint64(p.off), len(p.buf))
		}
		for _, p := range batch {
			p.fill(&g.c)
		}
	}
	return g.c.err
}

// fill takes the reply to the request for the piece.
func (p *piece) fill(c *conn) {
	text := c.reply()
	if len(text) == 3 && text[0] == 'E' {
		p.r.Err = fmt.Errorf("reading %d bytes of the guest's memory at %#x: QEMU answered %s", len(p.r.Buf), p.r.Addr, text)
		return
	}
	if n, err := hex.Decode(p.buf, text[:min(len(text), 2*len(p.buf))]); err != nil || n != len(p.buf) || len(text) != 2*n {
		c.refuse(text)
	}
}
