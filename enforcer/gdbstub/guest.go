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

// Trap is a kind of breakpoint, with the number that the stub uses for it.
type Trap int

const (
	// Software breakpoints. KVM writes them into the guest's memory, and TCG does not.
	Software Trap = iota
	// Hardware breakpoints in the debug registers. They do not change memory.
	Hardware
)

// registerNames are the registers at the beginning of the reply to g, in QEMU's order. Up to rip
// they have 64 bits, then 32 (gdb-xml/i386-64bit.xml).
var registerNames = strings.Fields("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs")

const (
	numRAX, numRCX, numRDX, numRSI, numRDI = 0, 2, 3, 4, 5
	numRSP, numR8, numR9, numRIP           = 7, 8, 9, 16

	atCS  = 8*(numRIP+1) + 4 // after eflags
	atEnd = atCS + 4*6
)

// pieceSize is the maximum number of bytes that the stub reads at once.
const pieceSize = packetSize / 2

// batchSize is the maximum number of pieces in one write.
const batchSize = 64

// piece is a part of a range.
type piece struct {
	r    *guest.Range
	addr uint64
	buf  []byte
}

// Guest is a guest of QEMU. After an error of the connection every call returns that error; only
// Freeze and Close still work.
type Guest struct {
	Trap Trap // kind of trap that Plant sets; must not change after the first Plant

	c        conn
	id       string
	command  []string // QEMU's command line, empty if it cannot be read
	threads  []string // the stub's ids of the vCPUs, indexed by vCPU
	selected int      // the vCPU that g, P and m are about; -1 if not known
	planted  []uint64
	last     guest.Stop
	running  bool   // between Answer and Run
	paused   bool   // the host has paused the guest and has to continue it
	stray    uint64 // address of the last stop without a trap
	distance uint64 // added to addresses that are read; see ReadImage
}

// errGone and errRunning are returned by calls that are not possible.
var errGone, errRunning = errors.New("the guest was released or closed"), errors.New("the guest runs")

// selectVCPU makes g, P and m be about a vCPU.
func (g *Guest) selectVCPU(vcpu int) {
	switch {
	case vcpu < 0 || vcpu >= len(g.threads):
		g.c.fail(fmt.Errorf("there is no vCPU %d", vcpu))
	case g.selected != vcpu:
		g.selected = vcpu
		g.c.askOK("Hg%s", g.threads[vcpu])
	}
}

// takeRegisters parses the reply to g.
func (g *Guest) takeRegisters() (r guest.Registers) {
	var b [atEnd]byte
	if p := g.c.reply(); len(p) < 2*len(b) || !decode(b[:], p[:2*len(b)]) {
		g.c.unexpected(p)
		return r
	}
	at := func(n int) uint64 { return binary.LittleEndian.Uint64(b[8*n:]) }
	return guest.Registers{
		RAX: at(numRAX), RCX: at(numRCX), RDX: at(numRDX), RSI: at(numRSI), RDI: at(numRDI), RSP: at(numRSP), R8: at(numR8), R9: at(numR9), RIP: at(numRIP),
		CS: binary.LittleEndian.Uint16(b[atCS:]),
	}
}

// Read fills the ranges through the page tables of the vCPU.
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
				g.c.unexpected(reply)
			}
		}
	}
	return g.c.err
}

// ReadImage reads physical memory, using the stub's mode for that.
func (g *Guest) ReadImage(distance uint64, ranges []*guest.Range) error {
	g.c.askOK("Qqemu.PhyMemMode:1")
	g.distance = distance
	_ = g.Read(0, ranges)
	g.distance = 0
	g.c.askOK("Qqemu.PhyMemMode:0")
	return g.c.takeOKs()
}

// decode decodes hex digits into b. It reports false unless their number is exact.
func decode(b, digits []byte) bool {
	if len(digits) != hex.EncodedLen(len(b)) {
		return false
	}
	_, err := hex.Decode(b, digits)
	return err == nil
}

// Trapped returns the number of vCPUs that Plant sets traps in: those that existed when the guest
// was opened.
func (g *Guest) Trapped() int { return len(g.threads) }

// VCPUs returns the registers of every vCPU.
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

// Fresh reports whether all vCPUs are at the reset vector, f000:fff0, including those that are not
// started yet.
func (g *Guest) Fresh() (bool, error) {
	all, err := g.VCPUs()
	used := func(r guest.Registers) bool { return r.RIP != 0xfff0 || r.CS != 0xf000 }
	return err == nil && !slices.ContainsFunc(all, used), err
}

// Hold is not supported: the traps are not in the kernel's code.
func (g *Guest) Hold(uint64, []byte) error { return errors.ErrUnsupported }

// Adopt removes traps of earlier connections. QEMU answers E22 where there was none.
func (g *Guest) Adopt(addrs []uint64) (found []uint64, err error) {
	for _, a := range addrs {
		g.c.ask("z%d,%x,1", g.Trap, a)
		switch p := g.c.reply(); string(p) {
		case "OK":
			found = append(found, a)
		case "E22":
		default:
			g.c.unexpected(p)
		}
	}
	return found, g.c.err
}

// Plant changes the traps in one write: if the process dies, QEMU has executed all of it or
// nothing.
func (g *Guest) Plant(addrs []uint64) error {
	if g.running {
		return errRunning
	}
	want := slices.Compact(slices.Sorted(slices.Values(addrs)))
	for _, a := range g.planted {
		if !slices.Contains(want, a) {
			g.c.askOK("z%d,%x,1", g.Trap, a)
		}
	}
	for _, a := range want {
		if !slices.Contains(g.planted, a) {
			g.c.askOK("z%d,%x,1", g.Trap, a) // an earlier connection may have set it
			g.c.askOK("Z%d,%x,1", g.Trap, a)
		}
	}
	g.planted = want
	return g.c.takeOKs()
}

// Freeze needs to do nothing for a guest that is stopped between calls. After an error it makes
// sure that the guest is stopped.
func (g *Guest) Freeze() error {
	err := g.halt()
	if err != nil && !errors.Is(err, guest.ErrEnded) && err != errGone {
		err = g.c.sync()
	}
	return err
}

// halt stops a guest that runs after an answer.
func (g *Guest) halt() error {
	if g.running {
		g.probe()
		g.running = false
	}
	return g.c.err
}

// Release removes all traps, including those of earlier connections, and lets the guest run.
func (g *Guest) Release() error {
	g.halt()
	g.c.askOK("D;1")
	err := g.c.takeOKs()
	g.c.err = cmp.Or(err, errGone)
	return err
}

// Close closes the connection, and does nothing else.
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

// Identity identifies the QEMU process behind a socket that has a path.
func (g *Guest) Identity() string { return g.id }
