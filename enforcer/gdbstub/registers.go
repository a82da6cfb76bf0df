package gdbstub

import (
	"encoding/binary"
	"math/bits"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// registerNames are the registers that g begins with, in QEMU's order: up to rip
// they have 64 bits, from there on 32 (gdb-xml/i386-64bit.xml).
var registerNames = [...]string{
	"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	"rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs",
}

const (
	numRAX, numRCX, numRDX, numRSI, numRDI = 0, 2, 3, 4, 5
	numRSP, numR8, numR9, numRIP           = 7, 8, 9, 16

	atCS  = 8*(numRIP+1) + 4 // behind eflags
	atEnd = atCS + 4*6
)

// takeRegisters takes the reply to g.
func (g *Guest) takeRegisters() (r guest.Registers) {
	var b [atEnd]byte
	if p := g.c.reply(); len(p) < 2*len(b) || !decode(b[:], p[:2*len(b)]) {
		g.c.refuse(p)
		return r
	}
	at := func(n int) uint64 { return binary.LittleEndian.Uint64(b[8*n:]) }
	return guest.Registers{
		RCX: at(numRCX), RDX: at(numRDX), RSI: at(numRSI), RDI: at(numRDI), RSP: at(numRSP), R8: at(numR8), R9: at(numR9), RIP: at(numRIP),
		CS: binary.LittleEndian.Uint16(b[atCS:]),
	}
}

// setRegister orders a register of the selected virtual CPU set, low byte first.
func (c *conn) setRegister(n int, value uint64) {
	c.order("P%x=%016x", n, bits.ReverseBytes64(value))
}
