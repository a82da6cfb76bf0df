package gdbstub

import (
	"slices"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestRegisters: each register has the value that the stub sends for it.
func TestRegisters(t *testing.T) {
	value := func(i int) uint64 { return 0x0102030405060700 + uint64(i) }
	of := func(name string) uint64 { return value(slices.Index(registerNames[:], name)) }
	var digits string
	for i := range registerNames {
		digits += reversed(value(i))[:map[bool]int{true: 16, false: 8}[i <= numRIP]]
	}
	_, g := newStub(t, map[string]string{"g": frame(digits + "00")})
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	want := guest.Registers{
		RAX: of("rax"), RDI: of("rdi"), RSI: of("rsi"), RDX: of("rdx"), RCX: of("rcx"), R8: of("r8"), R9: of("r9"), RSP: of("rsp"), RIP: of("rip"), CS: uint16(of("cs")),
	}
	if all, err := g.VCPUs(); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("%+x, %v, want %+x", all, err, want)
	}
}
