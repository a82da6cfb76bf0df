package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/profile"
)

// Where Linux changes its own code after it has started (text_poke and its callers in
// arch/x86/kernel and kernel/), and what of that the digest of a function leaves out:
//
//	left out   the fentry slot               ftrace, kprobes at an entry, BPF, live patches
//	           jump labels (static keys)     __jump_table, kernel/jump_label.c
//	           static calls                  static_call_sites, kernel/static_call_inline.c
//	           lock prefixes                 .smp_locks, when a second CPU comes up
//	kept       the switches of LSMs          they are set once, by security_init, and whoever
//	                                         turns one off afterwards has removed a hook
//	           the trap of warnings          the same, by traps.c
//	           kprobes elsewhere, kgdb       a breakpoint in the middle of this code
//	no matter  alternatives, paravirt,       applied once, before user space runs
//	           retpolines, return thunks,
//	           IBT seals, call thunks,
//	           runtime constants
//
// The tables lie in the kernel's file as it runs with them: places are relative to where
// they stand, so address space layout randomization does not change them.

// tableNames are the symbols in front of and behind each of them.
var tableNames = []string{
	"__start___jump_table", "__stop___jump_table", "__start_static_call_sites", "__stop_static_call_sites", "__smp_locks", "__smp_locks_end",
}

// A function is one of the appraisal path.
type function struct {
	symbol
	code  []byte
	spots []spot
}

// A spot is an instruction that the kernel changes, or a part of one.
type spot struct {
	profile.Span
	what string
	kept bool // what it is must not change once the kernel has started
}

// isSetOnce reports whether a symbol is a static key or the key of a static call that is set
// while the kernel starts, and never again: what leads to the hooks of LSMs
// (SECURITY_HOOK_ACTIVE_KEY and LSM_STATIC_CALL, security/security.c, since 6.12; before,
// there are lists), and the trap of warnings, whose calls become an undefined instruction
// (WARN_trap, arch/x86/kernel/traps.c, since 6.19).
func isSetOnce(name string) bool {
	return strings.HasPrefix(name, "security_hook_active_") || strings.HasPrefix(name, "__SCK__lsm_static_call_") || name == "__SCK__WARN_trap"
}

// findSpots finds the spots of all functions, which are sorted by address.
func (k *builder) findSpots(list []*function) error {
	for _, step := range []func([]*function) error{k.fentrySlots, k.jumpLabels, k.staticCalls, k.lockPrefixes} {
		if err := step(list); err != nil {
			return err
		}
	}
	return nil
}

// functionAt gives the function that an address lies in; nil if there is none.
func functionAt(list []*function, at uint64) *function {
	i, ok := slices.BinarySearchFunc(list, at, func(f *function, at uint64) int { return cmp.Compare(f.addr, at) })
	if !ok {
		i--
	}
	if i < 0 || at-list[i].addr >= list[i].size {
		return nil
	}
	return list[i]
}

// add notes a spot of so many bytes.
func (f *function) add(at uint64, size int, what string, kept bool) error {
	switch {
	case at-f.addr+uint64(size) > f.size:
		return fmt.Errorf("function %s: %s at %#x reaches out of it", f.name, what, at)
	case uint64(len(f.spots)) == f.size:
		return fmt.Errorf("function %s: more is changed than it has bytes", f.name)
	}
	f.spots = append(f.spots, spot{profile.Span{At: uint32(at - f.addr), Size: uint32(size)}, what, kept})
	return nil
}

// patched gives what is left out, by place.
func (f *function) patched() ([]profile.Span, error) {
	slices.SortFunc(f.spots, func(a, b spot) int { return cmp.Compare(a.At, b.At) })
	spans := []profile.Span{}
	end := uint32(0)
	for _, s := range f.spots {
		if s.At < end {
			return nil, fmt.Errorf("%s at %#x lies in what else is changed", s.what, f.addr+uint64(s.At))
		}
		end = s.At + s.Size
		if !s.kept {
			spans = append(spans, s.Span)
		}
	}
	return spans, nil
}

// table gives what lies between two symbols: entries of one size.
func (k *builder) table(first, last string, size uint64) (addr uint64, b []byte, err error) {
	if addr, err = k.symbols.addr(first); err != nil {
		return 0, nil, err
	}
	end, err := k.symbols.addr(last)
	if err != nil {
		return 0, nil, err
	}
	if end < addr || (end-addr)%size != 0 || end-addr > uint64(len(k.image.file)) {
		return 0, nil, fmt.Errorf("the table from %s to %s does not consist of entries of %d bytes", first, last, size)
	}
	if end == addr {
		return addr, nil, nil
	}
	if b, err = k.image.read(addr, int(end-addr)); err != nil {
		return 0, nil, fmt.Errorf("the table at %s: %w", first, err)
	}
	return addr, b, nil
}

// relative reads a number of four bytes that counts from its own place.
func relative(b []byte, at uint64) uint64 {
	return at + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
}

// fentrySlots finds the calls at the entries. Parts of functions have none, nor has what
// is marked notrace.
func (k *builder) fentrySlots(list []*function) error {
	for _, f := range list {
		at, err := k.fentry(f.addr)
		if errors.Is(err, ErrNoFentry) {
			continue
		}
		if err == nil {
			err = f.add(at, callSize, "the fentry slot", false)
		}
		if err != nil {
			return fmt.Errorf("function %s: %w", f.name, err)
		}
	}
	return nil
}

// jumpLabels reads struct jump_entry (include/linux/jump_label.h): code, target and key,
// the low bits of which are flags.
func (k *builder) jumpLabels(list []*function) error {
	const size = 16
	addr, b, err := k.table("__start___jump_table", "__stop___jump_table", size)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += size {
		entry, place := b[i:i+size], addr+uint64(i)
		at := relative(entry, place)
		f := functionAt(list, at)
		if f == nil {
			continue
		}
		n := jumpSize(f.code[at-f.addr:])
		if n == 0 {
			return fmt.Errorf("function %s: the jump label at %#x is neither a jump nor a nop", f.name, at)
		}
		key := place + 8 + binary.LittleEndian.Uint64(entry[8:])&^3
		if err := k.addSwitch(f, at, n, "the jump label", key); err != nil {
			return err
		}
	}
	return nil
}

// jumpSize tells how long the instruction of a jump label is (arch_jump_entry_size,
// arch/x86/kernel/jump_label.c); 0 if it is none.
func jumpSize(code []byte) int {
	switch {
	case bytes.HasPrefix(code, []byte{0xeb}), bytes.HasPrefix(code, []byte{0x66, 0x90}):
		return 2
	case bytes.HasPrefix(code, []byte{0xe9}), bytes.HasPrefix(code, nop5):
		return 5
	}
	return 0
}

// staticCalls reads struct static_call_site (include/linux/static_call_types.h): the call
// and its key, the low bits of which are flags.
func (k *builder) staticCalls(list []*function) error {
	const size = 8
	addr, b, err := k.table("__start_static_call_sites", "__stop_static_call_sites", size)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += size {
		entry, place := b[i:i+size], addr+uint64(i)
		at, key := relative(entry, place), relative(entry[4:], place+4)
		f := functionAt(list, at)
		if f == nil {
			continue
		}
		n := callSiteSize(f.code[at-f.addr:], key&1 != 0)
		if n == 0 {
			return fmt.Errorf("function %s: the static call at %#x is no call", f.name, at)
		}
		if err := k.addSwitch(f, at, n, "the static call", key&^3); err != nil {
			return err
		}
	}
	return nil
}

// callSiteSize tells how long a static call is; 0 if it is none. These are the forms that
// the kernel accepts (__static_call_validate, arch/x86/kernel/static_call.c).
func callSiteSize(code []byte, tail bool) int {
	starts := [][]byte{{callRel32}, nop5, {0x2e, 0x2e, 0x2e, 0x31, 0xc0}} // the last sets the result to 0
	if tail {
		if len(code) > 1 && code[0] == 0x0f && code[1]&0xf0 == 0x80 { // a conditional jump
			return 6
		}
		starts = [][]byte{{0xe9}, {0xc3}}
	}
	if slices.ContainsFunc(starts, func(start []byte) bool { return bytes.HasPrefix(code, start) }) {
		return callSize
	}
	return 0
}

// addSwitch notes a jump label or static call. In the hooks there are no others than
// those that lead to LSMs: if there were, it would have to be known what they lead to.
func (k *builder) addSwitch(f *function, at uint64, size int, what string, key uint64) error {
	once := k.symbols.setOnce[key]
	if !once && isLSMHook(f.name) {
		return fmt.Errorf("function %s: %s at %#x is not known to belong to the LSMs", f.name, what, at)
	}
	return f.add(at, size, what, once)
}

// lockPrefixes reads .smp_locks, in which 0 fills the last page (alternatives_smp_lock,
// arch/x86/kernel/alternative.c). Kernels from 7.3 on leave the prefixes alone, and have
// no such table.
func (k *builder) lockPrefixes(list []*function) error {
	const size = 4
	if len(k.symbols.byName["__smp_locks"])+len(k.symbols.byName["__smp_locks_end"]) == 0 && k.image.elf.Section(".smp_locks") == nil {
		return nil
	}
	addr, b, err := k.table("__smp_locks", "__smp_locks_end", size)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += size {
		place := addr + uint64(i)
		at := relative(b[i:], place)
		f := functionAt(list, at)
		if at == place || f == nil {
			continue
		}
		if c := f.code[at-f.addr]; c != 0xf0 && c != 0x3e { // lock, or the ds that replaces it
			return fmt.Errorf("function %s: there is no lock prefix at %#x", f.name, at)
		}
		if err := f.add(at, 1, "the lock prefix", false); err != nil {
			return err
		}
	}
	return nil
}
