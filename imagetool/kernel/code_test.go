package kernel

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

// The keys of static keys and calls in these tests.
const (
	otherKey  = fakekernel.Data + 0x300
	lsmKey    = fakekernel.Data + 0x320
	activeKey = fakekernel.Data + 0x340
)

// switching is a kernel that changes its code in every way there is. Behind each entry
// lies one of: lock, jump label, static call.
func switching() *fakekernel.Kernel {
	f := newFake()
	f.Add(otherKey, 'd', "__SCK__might_resched")
	f.Add(lsmKey, 'd', "__SCK__lsm_static_call_mmap_file_0")
	f.Add(activeKey, 'b', "security_hook_active_mmap_file_0")

	measure := fakekernel.Function("process_measurement")
	f.Patch(measure+5, []byte("\xf0\x0f\xba\xeb\x2a"+"\xe9\x01\x02\x03\x04"+"\x66\x90"+"\xe8\x01\x02\x03\x04"+"\x0f\x84\x01\x02\x03\x04"))
	f.AddLock(measure + 5)
	f.AddJump(measure+10, otherKey)
	f.AddJump(measure+15, otherKey+16) // which has no symbol
	f.AddCall(measure+17, otherKey)
	f.AddCall(measure+22, otherKey|1)
	f.Add(otherKey+0x60, 'T', "__SCK__WARN_trap")
	f.Patch(measure+28, []byte("\xe8\x01\x02\x03\x04"))
	f.AddCall(measure+28, otherKey+0x60)

	hook := fakekernel.Function("security_mmap_file")
	f.Patch(hook+5, []byte("\x0f\x1f\x44\x00\x00"+"\xeb\x05"+"\x3e\xff"+"\xe8\x01\x02\x03\x04"+"\xe9\x01\x02\x03\x04"))
	f.AddJump(hook+5, activeKey)
	f.AddJump(hook+10, activeKey)
	f.AddLock(hook + 12)
	f.AddCall(hook+14, lsmKey)
	f.AddCall(hook+19, lsmKey|1)

	// What is not in the list, or no entry at all.
	f.AddJump(fakekernel.Spare, otherKey)
	f.AddCall(fakekernel.Spare+8, otherKey)
	f.AddLock(fakekernel.Spare + 16)
	f.AddLock(f.Symbols[slices.IndexFunc(f.Symbols, func(s fakekernel.Symbol) bool { return s.Name == "__smp_locks_end" })].Addr) // 0
	return f
}

func functionOf(t *testing.T, p *profile.Profile, name string) profile.Function {
	t.Helper()
	i := slices.IndexFunc(p.Code, func(f profile.Function) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("%s is not in the code", name)
	}
	return p.Code[i]
}

// TestPatched: what the kernel may change is left out, but not what turns hooks off.
func TestPatched(t *testing.T) {
	p, err := Profile(fakeELF(t, switching()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]profile.Span{
		"process_measurement": {{At: 0, Size: 5}, {At: 5, Size: 1}, {At: 10, Size: 5}, {At: 15, Size: 2}, {At: 17, Size: 5}, {At: 22, Size: 6}},
		"security_mmap_file":  {{At: 0, Size: 5}, {At: 12, Size: 1}},
		"ima_file_mmap":       {{At: 0, Size: 5}},
	} {
		if got := functionOf(t, p, name).Patched; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestCode: which functions there are, and how large.
func TestCode(t *testing.T) {
	const spare = fakekernel.Spare
	f := newFake()
	for i, s := range []fakekernel.Symbol{
		{Kind: 't', Name: "ima_match_policy"},
		{Kind: 'T', Name: "ima_get_action"},
		{Kind: 'W', Name: "ima_load_data.part.0"},
		{Kind: 't', Name: "xattr_verify.constprop.0"},
		{Kind: 't', Name: "process_measurement.cold"},
		{Kind: 't', Name: "security_bprm_check.cold"},
		{Kind: 'T', Name: "integrity_kernel_read"},
		// And what is none of it.
		{Kind: 'T', Name: "__pfx_ima_get_action"},
		{Kind: 'T', Name: "security_bprm_check_other"},
		{Kind: 'T', Name: "security_inode_permission"},
		{Kind: 'r', Name: "ima_constants"},
		{Kind: 'T', Name: "evm_verifyxattr"},
	} {
		f.Add(spare+8*uint64(i), s.Kind, s.Name)
	}
	f.Add(spare, 't', "ima_another_name") // of ima_match_policy
	f.Add(fakekernel.TextEnd+16, 't', "ima_init")
	p, err := Profile(fakeELF(t, f), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range p.Code {
		if f.Address >= spare && f.Address < spare+0x100 {
			names = append(names, f.Name)
			if f.Size != 8 || f.Patched == nil || len(f.Patched) > 0 {
				t.Errorf("%+v", f)
			}
		}
		if f.Name == "ima_init" {
			t.Error("what is not in the text is in the list")
		}
	}
	want := []string{"ima_match_policy", "ima_get_action", "ima_load_data.part.0", "xattr_verify.constprop.0", "process_measurement.cold", "security_bprm_check.cold", "integrity_kernel_read"}
	if !slices.Equal(names, want) {
		t.Errorf("%q\nwant %q", names, want)
	}
	f = newFake()
	f.Rename("process_measurement", "process_measurement.isra.0")
	if p, err = Profile(fakeELF(t, f), Options{}); err != nil {
		t.Fatal(err)
	}
	functionOf(t, p, "process_measurement.isra.0")
}

// TestCodeRefused: what is missing, damaged or not known.
func TestCodeRefused(t *testing.T) {
	measure, hook := fakekernel.Function("process_measurement"), fakekernel.Function("security_mmap_file")
	cases := map[string]struct {
		change func(*fakekernel.Kernel)
		says   string
	}{
		"only a part":     {func(f *fakekernel.Kernel) { f.Rename("process_measurement", "process_measurement.part.0") }, "no symbol process_measurement"},
		"hook as a clone": {func(f *fakekernel.Kernel) { f.Rename("security_bprm_check", "security_bprm_check.isra.0") }, "no symbol security_bprm_check"},
		"too large": {func(f *fakekernel.Kernel) {
			f.Text = append(f.Text, make([]byte, 1<<17)...)
			f.Move("_etext", fakekernel.TextEnd+1<<17)
		}, "function ima_file_mmap, of 131584 bytes, is too large"},
		"not in the file": {func(f *fakekernel.Kernel) { f.Text = f.Text[:0x7f0] }, "function ima_file_mmap: 496 bytes lie at address"},

		"no jump table":            {func(f *fakekernel.Kernel) { f.Rename("__start___jump_table", "") }, "no symbol __start___jump_table"},
		"no end of the jump table": {func(f *fakekernel.Kernel) { f.Rename("__stop___jump_table", "") }, "no symbol __stop___jump_table"},
		"no static calls":          {func(f *fakekernel.Kernel) { f.Rename("__start_static_call_sites", "") }, "no symbol __start_static_call_sites"},
		"no lock prefixes":         {func(f *fakekernel.Kernel) { f.Rename("__smp_locks", "") }, "no symbol __smp_locks"},
		"part of an entry":         {func(f *fakekernel.Kernel) { f.Move("__stop___jump_table", fakekernel.Tables+24) }, "does not consist of entries of 16 bytes"},
		"table backwards":          {func(f *fakekernel.Kernel) { f.Move("__start___jump_table", fakekernel.Tables+0x80) }, "does not consist of entries of 16 bytes"},
		"endless table":            {func(f *fakekernel.Kernel) { f.Move("__stop___jump_table", fakekernel.Tables+1<<28) }, "does not consist of entries of 16 bytes"},
		"table not in the file":    {func(f *fakekernel.Kernel) { f.AddLock(measure); f.Tables = f.Tables[:0x80] }, "the table at __smp_locks: nothing lies at"},

		"jump label in code":         {func(f *fakekernel.Kernel) { f.AddJump(measure+20, otherKey) }, "function process_measurement: the jump label at 0xffffffff81000594 is neither a jump nor a nop"},
		"jump label across the end":  {func(f *fakekernel.Kernel) { f.Patch(measure+125, nop5); f.AddJump(measure+125, otherKey) }, "the jump label at 0xffffffff810005fd is neither"},
		"jump across the end":        {func(f *fakekernel.Kernel) { f.Patch(measure+127, []byte{0xe9}); f.AddJump(measure+127, otherKey) }, "the jump label at 0xffffffff810005ff reaches out of it"},
		"static call in code":        {func(f *fakekernel.Kernel) { f.AddCall(measure+20, otherKey) }, "the static call at 0xffffffff81000594 is no call"},
		"static call as a jump":      {func(f *fakekernel.Kernel) { f.Patch(measure+20, []byte{0xe9}); f.AddCall(measure+20, otherKey) }, "is no call"},
		"static call across the end": {func(f *fakekernel.Kernel) { f.Patch(measure+127, []byte{0xe8}); f.AddCall(measure+127, otherKey) }, "reaches out of it"},
		"no lock prefix":             {func(f *fakekernel.Kernel) { f.AddLock(measure + 20) }, "function process_measurement: there is no lock prefix at 0xffffffff81000594"},
		"jump label twice": {func(f *fakekernel.Kernel) {
			f.Patch(measure+20, nop5)
			f.AddJump(measure+20, otherKey)
			f.AddJump(measure+20, otherKey)
		}, "lies in what else is changed"},
		"jump label in the fentry slot": {func(f *fakekernel.Kernel) { f.Patch(measure, nop5); f.AddJump(measure, otherKey) }, "lies in what else is changed"},
		"LSM switch in the fentry slot": {func(f *fakekernel.Kernel) {
			f.Patch(hook, nop5)
			f.Add(activeKey, 'b', "security_hook_active_mmap_file_0")
			f.AddJump(hook, activeKey)
		}, "lies in what else is changed"},
		"unknown jump label in a hook":  {func(f *fakekernel.Kernel) { f.Patch(hook+20, nop5); f.AddJump(hook+20, otherKey) }, "function security_mmap_file: the jump label at 0xffffffff81000414 is not known to belong to the LSMs"},
		"unknown static call in a hook": {func(f *fakekernel.Kernel) { f.Patch(hook+20, []byte{0xe8}); f.AddCall(hook+20, otherKey) }, "the static call at 0xffffffff81000414 is not known to belong to the LSMs"},
		"entry that is at the very end": {func(f *fakekernel.Kernel) { f.Move("ima_file_mmap", fakekernel.TextEnd-4) }, "function ima_file_mmap: 4 bytes lie at address"},
		"hook that has the wrong switch": {func(f *fakekernel.Kernel) {
			f.Add(lsmKey, 'd', "__SCK__other_mmap_file_0")
			f.Patch(hook+20, []byte{0xe8})
			f.AddCall(hook+20, lsmKey)
		}, "is not known"},
	}
	for _, name := range requiredCode {
		if !slices.Contains(profile.HookNames[:], name) && name != "security_mmap_file" { // or another step refuses it
			cases["no "+name] = struct {
				change func(*fakekernel.Kernel)
				says   string
			}{func(f *fakekernel.Kernel) { f.Rename(name, "") }, "there is no symbol " + name}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.change(f)
			p, err := Profile(fakeELF(t, f), Options{})
			if err == nil || p != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// withTables gives a kernel whose tables have these bytes, as far as there is room.
func withTables(jumps, calls, locks []byte) *fakekernel.Kernel {
	f := switching()
	for _, c := range []struct {
		start, end string
		b          []byte
	}{
		{"__start___jump_table", "__stop___jump_table", jumps},
		{"__start_static_call_sites", "__stop_static_call_sites", calls},
		{"__smp_locks", "__smp_locks_end", locks},
	} {
		i := slices.IndexFunc(f.Symbols, func(s fakekernel.Symbol) bool { return s.Name == c.start })
		at := f.Symbols[i].Addr
		n := copy(f.Tables[at-fakekernel.Tables:][:0x100], c.b)
		f.Move(c.end, at+uint64(n))
	}
	return f
}

// FuzzCode: whatever stands in the tables gives a profile that can be true, or an error.
func FuzzCode(f *testing.F) {
	k := switching()
	f.Add(k.Tables[:0x70], k.Tables[0x100:0x128], k.Tables[0x200:0x210])
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, jumps, calls, locks []byte) {
		p, err := Profile(fakeELF(t, withTables(jumps, calls, locks)), Options{})
		if err == nil {
			err = check(p)
		} else if p != nil {
			t.Errorf("a profile, and the error %v", err)
		} else {
			return
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestCodeBounded: a table that names one place again and again is given up.
func TestCodeBounded(t *testing.T) {
	f := newFake()
	measure := fakekernel.Function("process_measurement")
	f.Patch(measure+5, []byte{0xf0})
	const entries, start = 1 << 20, 0x200 // of __smp_locks
	f.Tables = f.Tables[:start]
	for i := range uint64(entries) {
		f.Tables = binary.LittleEndian.AppendUint32(f.Tables, uint32(measure+5-(fakekernel.Tables+start+4*i)))
	}
	f.Move("__smp_locks_end", fakekernel.Tables+start+4*entries)
	if _, err := Profile(fakeELF(t, f), Options{}); err == nil || !strings.Contains(err.Error(), "function process_measurement: more is changed than it has bytes") {
		t.Error(err)
	}
}

// TestFunctionAt: at the borders of functions, and between them.
func TestFunctionAt(t *testing.T) {
	list := []*function{{symbol: symbol{addr: 100, size: 10}}, {symbol: symbol{addr: 120, size: 5}}}
	for at, want := range map[uint64]*function{
		0: nil, 99: nil, 100: list[0], 109: list[0], 110: nil, 119: nil, 120: list[1], 124: list[1], 125: nil, 1<<64 - 1: nil,
	} {
		if got := functionAt(list, at); got != want {
			t.Errorf("%d: %v", at, got)
		}
	}
	if functionAt(nil, 100) != nil {
		t.Error("found in nothing")
	}
}
