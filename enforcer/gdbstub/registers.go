package gdbstub

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// registerNames are the registers that g begins with, in QEMU's order: up to rip
// they have 64 bits, from there on 32 (target/i386/gdbstub.c, gdb-xml/i386-64bit.xml).
var registerNames = [...]string{
	"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	"rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs",
}

const (
	numRAX = 0
	numRSP = 7
	numRIP = 16

	offEflags    = 8 * (numRIP + 1)
	offCS        = offEflags + 4
	registerSize = offEflags + 4*7
)

func registerBits(i int) int {
	if i <= numRIP {
		return 64
	}
	return 32
}

// parseRegisters decodes the reply to g.
func parseRegisters(p []byte) (r guest.Registers, err error) {
	var b [registerSize]byte
	if len(p) < 2*len(b) {
		return r, fmt.Errorf("QEMU answered %q, not %d registers", brief(p), len(registerNames))
	}
	if _, err := hex.Decode(b[:], p[:2*len(b)]); err != nil {
		return r, fmt.Errorf("QEMU answered %q: %w", brief(p), err)
	}
	for i, reg := range []*uint64{
		&r.RAX, &r.RBX, &r.RCX, &r.RDX, &r.RSI, &r.RDI, &r.RBP, &r.RSP,
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15, &r.RIP,
	} {
		*reg = binary.LittleEndian.Uint64(b[8*i:])
	}
	r.RFLAGS = uint64(binary.LittleEndian.Uint32(b[offEflags:]))
	r.CS = binary.LittleEndian.Uint16(b[offCS:])
	return r, nil
}

// queueRegister sets a register of the selected virtual CPU, low byte first.
func (c *conn) queueRegister(n int, value uint64) {
	c.queue("P%x=%016x", n, bits.ReverseBytes64(value))
}
