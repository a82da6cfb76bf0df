package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/formats/profile"
)

// The variable with the level of lockdown (security/lockdown/lockdown.c), and the function
// that compares it with what somebody is about to do.
const (
	lockedDown   = "kernel_locked_down"
	isLockedDown = "lockdown_is_locked_down"
)

// lockdown finds the level in force, and the level that is wanted.
func (k *builder) lockdown(p *profile.Profile) error {
	if k.options.NoLockdown {
		return nil
	}
	sym, err := k.symbols.one(lockedDown)
	if len(k.symbols.byName[lockedDown]) == 0 {
		return fmt.Errorf("%w: %w", ErrNoLockdown, err)
	}
	if err != nil {
		return err
	}
	level, err := k.types.value("lockdown_reason", "LOCKDOWN_INTEGRITY_MAX")
	if errors.Is(err, btf.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNoLockdown, err)
	}
	if err != nil {
		return err
	}
	if !k.isLevel(sym) {
		return fmt.Errorf("%s does not hold an enum lockdown_reason: it has %d bytes, and %s does not compare four of them",
			lockedDown, sym.size, isLockedDown)
	}
	p.Variables.LockedDown, p.Values.LockIntegrity = sym.addr, level
	return nil
}

// isLevel tells the variable of four bytes, which BTF does not have, from a set of bits,
// which some kernels have in its place: that has eight bytes, and is aligned to them.
func (k *builder) isLevel(sym symbol) bool {
	switch {
	case sym.size < 4:
		return false
	case sym.size < 8 || sym.addr%8 != 0:
		return true
	}
	f, err := k.symbols.one(isLockedDown)
	if err != nil || f.size > maxFunction {
		return false
	}
	code, err := k.image.read(f.addr, int(f.size))
	return err == nil && comparesFour(code, f.addr, sym.addr)
}

// comparesFour looks for "cmp %r32, variable(%rip)", or with the operands exchanged: an
// opcode, the byte of the operands, and the distance from the end of the instruction.
func comparesFour(code []byte, at, variable uint64) bool {
	const size = 6
	for i := 0; i+size <= len(code); i++ {
		if code[i] != 0x39 && code[i] != 0x3b || code[i+1]&0xc7 != 0x05 {
			continue
		}
		if i > 0 && code[i-1]&0xf8 == 0x48 { // REX.W: eight bytes are compared
			continue
		}
		distance := int64(int32(binary.LittleEndian.Uint32(code[i+2:])))
		if at+uint64(i)+size+uint64(distance) == variable {
			return true
		}
	}
	return false
}
