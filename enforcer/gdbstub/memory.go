package gdbstub

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// pieceSize is how much memory the stub reads at once.
const pieceSize = packetSize / 2

// batchSize is how many pieces are asked for at once: the stub receives that many requests.
const batchSize = 64

// piece of a range.
type piece struct {
	r    *guest.Range
	addr uint64
	buf  []byte
}

// Read fills the ranges as the virtual CPU's page tables have it.
func (g *Guest) Read(vcpu int, ranges []*guest.Range) error {
	if g.running {
		return errRunning
	}
	if err := g.selectVCPU(vcpu); err != nil {
		return err
	}
	var pieces []piece
	for _, r := range ranges {
		r.Err = nil
		addr := r.Addr + g.distance
		for buf := range slices.Chunk(r.Buf, pieceSize) {
			pieces = append(pieces, piece{r, addr, buf})
			addr += pieceSize
		}
	}
	for batch := range slices.Chunk(pieces, batchSize) {
		for _, p := range batch {
			g.c.ask("m%x,%x", p.addr, len(p.buf))
		}
		for _, p := range batch {
			reply := g.c.reply()
			if len(reply) == 3 && reply[0] == 'E' {
				p.r.Err = fmt.Errorf("reading %d bytes of the guest's memory at %#x: QEMU answered %s", len(p.r.Buf), p.r.Addr, reply)
			} else if !decode(p.buf, reply) {
				g.c.refuse(reply)
			}
		}
	}
	return g.c.err
}

// ReadImage reads physical memory, which the stub has a mode for.
func (g *Guest) ReadImage(distance uint64, ranges []*guest.Range) error {
	g.c.order("Qqemu.PhyMemMode:1")
	g.distance = distance
	_ = g.Read(0, ranges)
	g.distance = 0
	g.c.order("Qqemu.PhyMemMode:0")
	return g.c.obeyed()
}

// decode fills b from exactly as many digits as it takes.
func decode(b, digits []byte) bool {
	if len(digits) != hex.EncodedLen(len(b)) {
		return false
	}
	_, err := hex.Decode(b, digits)
	return err == nil
}
