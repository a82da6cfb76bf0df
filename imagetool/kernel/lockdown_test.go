package kernel

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

// compares writes a function lockdown_is_locked_down that begins with this instruction,
// which looks at an address.
func compares(f *fakekernel.Kernel, opcode string, variable uint64) {
	const at = fakekernel.Spare
	f.Add(at, 't', "lockdown_is_locked_down")
	f.Add(at+64, 't', "lock_kernel_down")
	distance := uint32(variable - at - uint64(len(opcode)) - 4)
	f.Patch(at, binary.LittleEndian.AppendUint32([]byte(opcode), distance))
}

// TestLockdown: a level of four bytes is told from anything else, and a kernel without one
// is refused unless that was asked for.
func TestLockdown(t *testing.T) {
	const place = fakekernel.Data + 0x230
	// wide makes room for eight bytes.
	wide := func(f *fakekernel.Kernel) { f.Move("integrity_dir", place+8) }
	for name, c := range map[string]struct {
		change func(*fakekernel.Kernel)
		refuse string // "" for a kernel that has a level
	}{
		"four bytes":                {func(*fakekernel.Kernel) {}, ""},
		"with a name of other size": {func(f *fakekernel.Kernel) { f.Move("integrity_dir", place+3) }, "kernel_locked_down does not hold an enum lockdown_reason: it has 3 bytes"},
		"not aligned to eight": {func(f *fakekernel.Kernel) {
			f.Move("kernel_locked_down", place+4)
			f.Move("integrity_dir", place+12)
		}, ""},
		"eight bytes":                   {wide, "it has 8 bytes, and lockdown_is_locked_down does not compare four of them"},
		"eight bytes, four compared":    {func(f *fakekernel.Kernel) { wide(f); compares(f, "\x39\x3d", place) }, ""},
		"eight bytes, in another order": {func(f *fakekernel.Kernel) { wide(f); compares(f, "\x3b\x1d", place) }, ""},
		"eight bytes compared":          {func(f *fakekernel.Kernel) { wide(f); compares(f, "\x48\x39\x3d", place) }, "it has 8 bytes"},
		"eight bytes, others compared":  {func(f *fakekernel.Kernel) { wide(f); compares(f, "\x39\x3d", place+4) }, "it has 8 bytes"},
		"eight bytes, tested":           {func(f *fakekernel.Kernel) { wide(f); compares(f, "\x48\x0f\xa3\x3d", place) }, "it has 8 bytes"}, // bt %rdi, as test_bit does
		"at the end":                    {func(f *fakekernel.Kernel) { f.Move("kernel_locked_down", fakekernel.Tables+0x3000) }, "it has 0 bytes"},
		"twice":                         {func(f *fakekernel.Kernel) { f.Add(place+16, 'b', "kernel_locked_down") }, "symbol kernel_locked_down is ambiguous"},
		"enumeration of eight bytes":    {func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "lockdown_reason").Size = 8 }, "enum lockdown_reason: has 8 bytes"},
		"no level of integrity": {
			func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "lockdown_reason").Values[1].Name = "LOCKDOWN_MAX" },
			"enum lockdown_reason: has no member LOCKDOWN_INTEGRITY_MAX",
		},
		"integrity is 0": {func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "lockdown_reason").Values[1].Value = 0 }, "lockdown at 0xffffffff83000230 for integrity at 0 cannot be"},
		"no variable":    {func(f *fakekernel.Kernel) { f.Rename("kernel_locked_down", "") }, "CONFIG_SECURITY_LOCKDOWN_LSM"},
		"no enumeration": {func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "lockdown_reason").Name = "reason" }, "CONFIG_SECURITY_LOCKDOWN_LSM"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.change(f)
			file := fakeELF(t, f)
			p, err := Profile(file, Options{})
			switch {
			case c.refuse == "" && (err != nil || p.Variables.LockedDown == 0 || p.Values.LockIntegrity != 21):
				t.Errorf("%v, %+v", err, p)
			case c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)):
				t.Errorf("%v, want %q", err, c.refuse)
			case strings.HasPrefix(name, "no ") && name != "no level of integrity" && !errors.Is(err, ErrNoLockdown):
				t.Errorf("not for want of lockdown: %v", err)
			}
			p, err = Profile(file, Options{NoLockdown: true})
			if err != nil || p.Variables.LockedDown != 0 || p.Values.LockIntegrity != 0 {
				t.Errorf("without lockdown: %v, %+v", err, p)
			}
		})
	}
}
