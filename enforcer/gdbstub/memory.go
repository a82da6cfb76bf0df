package gdbstub

import (
	"encoding/hex"
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const (
	maxPiece = packetSize / 2 // of memory that the stub reads at once

	// What may be asked for before the replies are taken: no more than the stub can
	// send without waiting for us, and no more than it receives at once.
	maxPieces  = 64
	maxReplies = 32 << 10
)

// place is where in a list of ranges the reading is.
type place struct{ i, off int }

// piece is what is read at a place, and where the next one is.
func (at place) piece(ranges []guest.Range) (addr uint64, buf []byte, next place) {
	r := &ranges[at.i]
	buf = r.Buf[at.off:]
	if len(buf) > maxPiece {
		buf = buf[:maxPiece]
		return r.Addr + uint64(at.off), buf, place{at.i, at.off + maxPiece}
	}
	return r.Addr + uint64(at.off), buf, place{at.i + 1, 0}
}

// Read fills the ranges as the virtual CPU's page tables have it.
func (g *Guest) Read(vcpu int, ranges []guest.Range) error {
	if g.err != nil {
		return g.err
	}
	for i := range ranges {
		ranges[i].Err = nil
	}
	var from, to place
	for ; from.i < len(ranges); from = to {
		due, err := g.queueSelect(vcpu)
		if err != nil {
			return err
		}
		to = g.queuePieces(ranges, from)
		if err := g.c.flush(); err != nil {
			return g.fail("reading memory", err)
		}
		if due {
			if err := g.selectedOK(vcpu); err != nil {
				return err
			}
		}
		if err := g.takePieces(ranges, from, to); err != nil {
			return err
		}
	}
	return nil
}

// queuePieces asks for as many pieces as may be under way, and says where it stopped.
func (g *Guest) queuePieces(ranges []guest.Range, at place) place {
	replies := 0
	for n := 0; at.i < len(ranges) && n < maxPieces && replies < maxReplies; n++ {
		addr, buf, next := at.piece(ranges)
		if len(buf) > 0 {
			g.c.queue("m%x,%x", addr, len(buf))
			replies += 2 * len(buf)
		}
		at = next
	}
	return at
}

// takePieces takes the replies, which come in order.
func (g *Guest) takePieces(ranges []guest.Range, at, to place) error {
	for at != to {
		addr, buf, next := at.piece(ranges)
		if len(buf) > 0 {
			p, err := g.c.receive(g.c.soon())
			if err != nil {
				return g.fail(fmt.Sprintf("reading %d bytes at %#x", len(buf), addr), err)
			}
			if err := takePiece(buf, p, &ranges[at.i]); err != nil {
				return g.fail(fmt.Sprintf("reading %d bytes at %#x", len(buf), addr), err)
			}
		}
		at = next
	}
	return nil
}

func takePiece(buf, p []byte, r *guest.Range) error {
	if len(p) == 3 && p[0] == 'E' {
		r.Err = fmt.Errorf("the guest has no memory for all of %d bytes at %#x (QEMU answered %s)", len(r.Buf), r.Addr, p)
		return nil
	}
	if len(p) != 2*len(buf) {
		return fmt.Errorf("QEMU answered %q of %d digits", brief(p), len(p))
	}
	if _, err := hex.Decode(buf, p); err != nil {
		return fmt.Errorf("QEMU answered %q: %w", brief(p), err)
	}
	return nil
}
