package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/formats/profile"
)

// A MappingError says how a kernel maps files executable unasked.
type MappingError struct{ Reason string }

func (e *MappingError) Error() string {
	return "rules for MMAP_CHECK can be gone round in this kernel: " + e.Reason
}

// Advice says what a person can do about it.
func (e *MappingError) Advice() string {
	return "take a newer kernel: distributions closed this in 2023 (ima_file_mmap) and 2024 (remap_file_pages, CVE-2024-47745)"
}

// mapping refuses a kernel in which a program with the personality READ_IMPLIES_EXEC has a file mapped
// executable by asking for a mapping that is not. Both ways were closed in Linux 6.3 and 6.12, and in
// most stable series since.
func (k *builder) mapping(*profile.Profile) error {
	asks, err := k.types.asksForEffective()
	if err != nil {
		return err
	}
	if !asks {
		return &MappingError{"ima_file_mmap is asked about the protection that a program wants, not about the one that it gets"}
	}
	return k.remapping()
}

// asksForEffective tells whether ima_file_mmap is given both: the protection that a program asks for (reqprot),
// and the one that it gets. From 6.3 on there are rules for either.
func (t *types) asksForEffective() (bool, error) {
	funcs, err := t.funcs()
	if err != nil {
		return false, err
	}
	if _, ok := funcs["MMAP_CHECK_REQPROT"]; ok {
		return true, nil
	}
	var fn *btf.Func
	if err := t.spec.TypeByName("ima_file_mmap", &fn); err != nil {
		return false, fmt.Errorf("type of function ima_file_mmap: %w", err)
	}
	if proto, ok := fn.Type.(*btf.FuncProto); ok {
		for _, p := range proto.Params {
			if p.Name == "reqprot" {
				return true, nil
			}
		}
	}
	return false, nil
}

// remapping looks for the call of security_mmap_file in what the compiler made of remap_file_pages(2). A
// kernel without that system call has nothing to refuse.
func (k *builder) remapping() error {
	const name, hook = "_sys_remap_file_pages", "security_mmap_file"
	// All symbols, since a function ends where the next begins.
	all, err := kallsyms(k.image.section(".rodata"), k.image.sectionAddr(".rodata"), func(byte, []byte) bool { return true })
	if err != nil {
		return err
	}
	var target uint64
	for _, s := range all {
		if s.name == hook {
			target = s.addr
		}
	}
	found := false
	for i, s := range all {
		if !strings.HasPrefix(s.name, "__") || !strings.Contains(s.name, name) || s.kind|0x20 != 't' {
			continue
		}
		found = true
		end := i
		for end < len(all) && all[end].addr == s.addr {
			end++
		}
		if end == len(all) {
			continue
		}
		code, err := k.image.read(s.addr, int(all[end].addr-s.addr))
		if err != nil {
			return fmt.Errorf("function %s: %w", s.name, err)
		}
		if calls(code, s.addr, target) {
			return nil
		}
	}
	if !found {
		return nil
	}
	return &MappingError{"remap_file_pages(2) does not call " + hook}
}

// calls tells whether code that lies at an address has a call of a function. What only looks like one, in the
// middle of another instruction, would have to name that very distance.
func calls(code []byte, at, function uint64) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(code[i:], callRel32)
		if i += n; n < 0 || i+callSize > len(code) {
			return false
		}
		distance := int64(int32(binary.LittleEndian.Uint32(code[i+1:])))
		if at+uint64(i)+callSize+uint64(distance) == function {
			return true
		}
	}
}
