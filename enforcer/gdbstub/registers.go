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
	numRAX, numRSP, numRIP = 0, 7, 16

	atEflags = 8 * (numRIP + 1)
	atCS     = atEflags + 4
	atEnd    = atEflags + 4*7
)

// takeRegisters takes the reply to g.
func (g *Guest) takeRegisters() (r guest.Registers) {
	var b [atEnd]byte
	if p := g.c.reply(); len(p) < 2*len(b) || !decode(b[:], p[:2*len(b)]) {
		g.c.refuse(p)
		return r
	}
	for i, reg := range []*uint64{
		&r.RAX, &r.RBX, &r.RCX, &r.RDX, &r.RSI, &r.RDI, &r.RBP, &r.RSP,
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15, &r.RIP,
	} {
		*reg = binary.LittleEndian.Uint64(b[8*i:])
	}
	r.RFLAGS = uint64(binary.LittleEndian.Uint32(b[atEflags:]))
	r.CS = binary.LittleEndian.Uint16(b[atCS:])
	return r
}

// setRegister orders a register of the selected virtual CPU set, low byte first.
func (c *conn) setRegister(n int, value uint64) {
	c.order("P%x=%016x", n, bits.ReverseBytes64(value))
}
