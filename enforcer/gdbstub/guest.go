package gdbstub

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// Trap is what the hypervisor makes a trap of, by the stub's number of it.
type Trap int

const (
	// Software lets the hypervisor change memory, which KVM does and TCG does not.
	Software Trap = iota
	// Hardware is the processor's debug registers. Memory is left alone.
	Hardware
)

// registerNames are the registers that g begins with, in QEMU's order: up to rip
// they have 64 bits, from there on 32 (gdb-xml/i386-64bit.xml).
var registerNames = strings.Fields("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs")

const (
	numRAX, numRCX, numRDX, numRSI, numRDI = 0, 2, 3, 4, 5
	numRSP, numR8, numR9, numRIP           = 7, 8, 9, 16

	atCS  = 8*(numRIP+1) + 4 // behind eflags
	atEnd = atCS + 4*6
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

// Guest is a QEMU guest. After an error of the connection every call gives that
// error, and only Freeze and Close do something.
type Guest struct {
	Trap Trap // what Plant sets; to be changed before the first Plant only

	c        conn
	id       string
	command  []string // QEMU's command line, if it can be read
	threads  []string // what the stub calls the virtual CPUs, in our order
	selected int      // the one that g, P and m are about; -1 if not known
	planted  []uint64
	last     guest.Stop
	running  bool   // between Answer and Run
	paused   bool   // it stands still, and not by us: whoever has paused it lets it go on
	stray    uint64 // where it stopped last without a trap
	distance uint64 // of addresses that are read; see ReadImage
}

// errGone and errRunning are given by calls that ask for what cannot be.
var errGone, errRunning = errors.New("the guest was released or closed"), errors.New("the guest runs")

// selectVCPU makes g, P and m be about a virtual CPU.
func (g *Guest) selectVCPU(vcpu int) {
	switch {
	case vcpu < 0 || vcpu >= len(g.threads):
		g.c.fail(fmt.Errorf("there is no virtual CPU %d", vcpu))
	case g.selected != vcpu:
		g.selected = vcpu
		g.c.order("Hg%s", g.threads[vcpu])
	}
}

// takeRegisters takes the reply to g.
func (g *Guest) takeRegisters() (r guest.Registers) {
	var b [atEnd]byte
	if p := g.c.reply(); len(p) < 2*len(b) || !decode(b[:], p[:2*len(b)]) {
		g.c.refuse(p)
		return r
	}
	at := func(n int) uint64 { return binary.LittleEndian.Uint64(b[8*n:]) }
	return guest.Registers{
		RAX: at(numRAX), RCX: at(numRCX), RDX: at(numRDX), RSI: at(numRSI), RDI: at(numRDI), RSP: at(numRSP), R8: at(numR8), R9: at(numR9), RIP: at(numRIP),
		CS: binary.LittleEndian.Uint16(b[atCS:]),
	}
}

// Read fills the ranges as the virtual CPU's page tables have it.
func (g *Guest) Read(vcpu int, ranges []*guest.Range) error {
	if g.running {
		return errRunning
	}
	g.selectVCPU(vcpu)
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

// Trapped gives the number of virtual CPUs that Plant sets traps in: those that there were when
// the guest was opened.
func (g *Guest) Trapped() int { return len(g.threads) }

// VCPUs gives the registers of every virtual CPU.
func (g *Guest) VCPUs() ([]guest.Registers, error) {
	if g.running {
		return nil, errRunning
	}
	all := make([]guest.Registers, len(g.threads))
	for i := range all {
		g.selectVCPU(i)
		g.c.ask("g")
		all[i] = g.takeRegisters()
	}
	return all, g.c.err
}

// Fresh reports whether all virtual CPUs stand where a reset puts them, at
// f000:fff0, those that wait to be started included.
func (g *Guest) Fresh() (bool, error) {
	all, err := g.VCPUs()
	used := func(r guest.Registers) bool { return r.RIP != 0xfff0 || r.CS != 0xf000 }
	return err == nil && !slices.ContainsFunc(all, used), err
}

// Hold is not needed: traps are not in the kernel's code.
func (g *Guest) Hold(uint64, []byte) error { return errors.ErrUnsupported }

// Adopt removes traps of earlier connections. QEMU says E22 where there was none.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	for _, a := range addrs {
		g.c.ask("z%d,%x,1", g.Trap, a)
		switch p := g.c.reply(); string(p) {
		case "OK":
			found = append(found, a)
		case "E22":
		default:
			g.c.refuse(p)
		}
	}
	return found, g.c.err
}

// Plant changes the set in one write: a process that dies has done all of it or
// nothing.
func (g *Guest) Plant(addrs []uint64) error {
	if g.running {
		return errRunning
	}
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	for _, a := range g.planted {
		if !slices.Contains(want, a) {
			g.c.order("z%d,%x,1", g.Trap, a)
		}
	}
	for _, a := range want {
		if !slices.Contains(g.planted, a) {
			g.c.order("z%d,%x,1", g.Trap, a) // an earlier connection may have set it
			g.c.order("Z%d,%x,1", g.Trap, a)
		}
	}
	g.planted = want
	return g.c.obeyed()
}

// Freeze has nothing to do for a guest that stands still between calls. After an
// error it makes sure that it does.
func (g *Guest) Freeze() error {
	err := g.halt()
	if err != nil && !errors.Is(err, guest.ErrEnded) && err != errGone {
		err = g.c.sync()
	}
	return err
}

// halt stops a guest that an answer has let run on.
func (g *Guest) halt() error {
	if g.running {
		g.look()
		g.running = false
	}
	return g.c.err
}

// Release removes all traps, those of earlier connections included, and lets the guest
// run.
func (g *Guest) Release() error {
	g.halt()
	g.c.order("D;1")
	err := g.c.obeyed()
	g.c.err = cmp.Or(err, errGone)
	return err
}

// Close gives the connection up, and nothing else.
func (g *Guest) Close() error {
	if g.c.fd < 0 {
		return nil
	}
	if g.c.peer > 0 {
		unix.Close(g.c.peer)
	}
	err := unix.Close(g.c.fd)
	g.c.fd, g.c.err = -1, errGone
	return err
}

// Identity names the QEMU process behind a socket that has a path.
func (g *Guest) Identity() string { return g.id }
