package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// A fake is a small kernel that has all that a profile is made from. Tests change
// parts of it.
type fake struct {
	layout  layout
	symbols []symbol
	text    []byte
	rodata  []byte // what lies in front of kallsyms
	data    []byte
	notes   []byte
	types   []btf.Type // none: no BTF
}

const (
	fakeText   = 0xffffffff81000000
	fakeRodata = 0xffffffff82000000
	fakeData   = 0xffffffff83000000
	fakeFentry = fakeText + 0x10
	fakeHooks  = fakeText + 0x100 // each of them has 64 bytes

	fakeRelease = "6.1.0-fake"
	fakeBanner  = "Linux version " + fakeRelease + " (builder@host) #1 SMP\n"
)

var hookNames = []string{
	"ima_appraise_measurement", "ima_bprm_check", "ima_parse_add_rule", "ima_update_policy", "integrity_digsig_verify",
}

// newFake makes a kernel that is in order.
func newFake() *fake {
	f := &fake{
		layout: layouts["6.4"],
		text:   bytes.Repeat([]byte{0xcc}, 0x400),
		rodata: append([]byte(fakeBanner), 0),
		data:   make([]byte, 0x400),
		notes:  append(note("Linux", 0x100, []byte("other")), note("GNU", noteBuildID, []byte{0xab, 0xcd, 0xef})...),
		types:  fakeTypes(),
	}
	copy(f.data[8+2*utsField:], fakeRelease) // of init_uts_ns
	f.symbols = []symbol{
		{0, 'A', "fixed_percpu_data"},
		{fakeText, 'T', "_text"},
		{fakeText, 'T', "startup_64"},
		{fakeFentry, 'T', "__fentry__"},
		{fakeText + 0x400, 'T', "_etext"},
		{fakeRodata, 'R', "linux_banner"},
		{fakeData, 'D', "init_uts_ns"},
		{fakeData + 0x200, 'd', "ima_appraise"},
		{fakeData + 0x204, 'D', "ima_policy_flag"},
		{fakeData + 0x208, 'b', "kexec_load_disabled"},
		{fakeData + 0x20c, 'D', "system_state"},
		{fakeData + 0x210, 'd', "rootfs_fs_type"},
	}
	for i, name := range hookNames {
		at := fakeHooks + 64*uint64(i)
		f.symbols = append(f.symbols, symbol{at, 'T', name})
		f.patch(at, callTo(at, fakeFentry))
	}
	return f
}

// patch writes code to an address of the text.
func (f *fake) patch(at uint64, code []byte) { copy(f.text[at-fakeText:], code) }

func callTo(from, to uint64) []byte {
	return binary.LittleEndian.AppendUint32([]byte{callRel32}, uint32(to-from-callSize))
}

// rename gives a symbol another name; "" removes it.
func (f *fake) rename(from, to string) {
	f.symbols = slices.DeleteFunc(f.symbols, func(s symbol) bool { return s.name == from && to == "" })
	for i := range f.symbols {
		if f.symbols[i].name == from {
			f.symbols[i].name = to
		}
	}
}

func note(name string, kind uint32, data []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, align(uint64(len(b)), 4)-uint64(len(b)))...) }
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(append(b, pad(append([]byte(name), 0))...), pad(bytes.Clone(data))...)
}

// typeOf gives a type of the fake to be changed.
func typeOf[T btf.Type](t testing.TB, f *fake, name string) T {
	t.Helper()
	for _, typ := range f.types {
		if found, ok := typ.(T); ok && typ.TypeName() == name {
			return found
		}
	}
	t.Fatalf("the fake has no type %s", name)
	panic("not reached")
}

// fakeTypes are those of Linux 6.1, with the members that count.
func fakeTypes() []btf.Type {
	i := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u := &btf.Int{Name: "unsigned int", Size: 4}
	ul := &btf.Int{Name: "long unsigned int", Size: 8} // as GCC spells it
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	uchar := &btf.Int{Name: "unsigned char", Size: 1}
	ssize := &btf.Typedef{Name: "ssize_t", Type: &btf.Int{Name: "long int", Size: 8, Encoding: btf.Signed}}
	dev := &btf.Typedef{Name: "dev_t", Type: u}
	to := func(t btf.Type) btf.Type { return &btf.Pointer{Target: t} }
	constant := func(t btf.Type) btf.Type { return &btf.Const{Type: t} }

	fstype := &btf.Struct{Name: "file_system_type", Size: 8}
	sb := &btf.Struct{Name: "super_block", Size: 128, Members: []btf.Member{
		{Name: "s_dev", Type: dev, Offset: 8 * 16},
		{Name: "s_type", Type: to(fstype), Offset: 8 * 40},
		{Name: "s_iflags", Type: ul, Offset: 8 * 88},
	}}
	inode := &btf.Struct{Name: "inode", Size: 64, Members: []btf.Member{{Name: "i_sb", Type: to(sb), Offset: 8 * 40}}}
	unnamed := &btf.Union{Size: 8, Members: []btf.Member{{Name: "f_inode", Type: to(inode)}}}
	file := &btf.Struct{Name: "file", Size: 64, Members: []btf.Member{{Type: unnamed, Offset: 8 * 32}}}
	bprm := &btf.Struct{Name: "linux_binprm", Size: 128, Members: []btf.Member{{Name: "file", Type: to(file), Offset: 8 * 64}}}
	var fields []btf.Member
	for n, name := range []string{"sysname", "nodename", "release", "version", "machine", "domainname"} {
		fields = append(fields, btf.Member{Name: name, Type: &btf.Array{Type: char, Index: u, Nelems: utsField}, Offset: btf.Bits(8 * n * utsField)})
	}
	uts := &btf.Struct{Name: "new_utsname", Size: utsFields * utsField, Members: fields}
	ns := &btf.Struct{Name: "uts_namespace", Size: 400, Members: []btf.Member{{Name: "name", Type: uts, Offset: 8 * 8}}}
	hooks := &btf.Enum{Name: "ima_hooks", Size: 4}
	for n, name := range []string{
		"NONE", "FILE_CHECK", "MMAP_CHECK", "BPRM_CHECK", "CREDS_CHECK", "POST_SETATTR", "MODULE_CHECK", "FIRMWARE_CHECK",
		"KEXEC_KERNEL_CHECK", "KEXEC_INITRAMFS_CHECK", "POLICY_CHECK", "MAX_CHECK",
	} {
		hooks.Values = append(hooks.Values, btf.EnumValue{Name: name, Value: uint64(n)})
	}
	status := &btf.Enum{Name: "integrity_status", Size: 4, Values: []btf.EnumValue{{Name: "INTEGRITY_PASS"}, {Name: "INTEGRITY_FAIL", Value: 2}}}
	states := &btf.Enum{Name: "system_states", Size: 4, Values: []btf.EnumValue{{Name: "SYSTEM_BOOTING"}, {Name: "SYSTEM_RUNNING", Value: 3}}}
	fn := func(name string, result btf.Type, params ...btf.FuncParam) btf.Type {
		return &btf.Func{Name: name, Type: &btf.FuncProto{Return: result, Params: params}}
	}
	named := func(name string) btf.Type { return to(&btf.Struct{Name: name, Size: 8}) }
	return []btf.Type{
		fstype, sb, inode, file, bprm, uts, ns, hooks, status, states,
		fn("ima_appraise_measurement", i, btf.FuncParam{Name: "func", Type: hooks}, btf.FuncParam{Name: "iint", Type: named("integrity_iint_cache")},
			btf.FuncParam{Name: "file", Type: to(file)}, btf.FuncParam{Name: "filename", Type: to(constant(uchar))},
			btf.FuncParam{Name: "xattr_value", Type: named("evm_ima_xattr_data")}, btf.FuncParam{Name: "xattr_len", Type: i},
			btf.FuncParam{Name: "modsig", Type: to(constant(&btf.Fwd{Name: "modsig"}))}),
		fn("integrity_digsig_verify", i, btf.FuncParam{Name: "id", Type: constant(u)}, btf.FuncParam{Name: "sig", Type: to(constant(char))},
			btf.FuncParam{Name: "siglen", Type: i}, btf.FuncParam{Name: "digest", Type: to(constant(char))}, btf.FuncParam{Name: "digestlen", Type: i}),
		fn("ima_parse_add_rule", ssize, btf.FuncParam{Name: "rule", Type: to(char)}),
		fn("ima_update_policy", &btf.Void{}),
		fn("ima_bprm_check", i, btf.FuncParam{Name: "bprm", Type: to(bprm)}),
	}
}

func encodeTypes(t testing.TB, types []btf.Type) []byte {
	t.Helper()
	if len(types) == 0 {
		return nil
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	section, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return section
}

// elf writes the file.
func (f *fake) elf(t testing.TB) []byte {
	t.Helper()
	rodata := append(bytes.Clone(f.rodata), make([]byte, alignInt(len(f.rodata))-len(f.rodata))...)
	rodata = append(rodata, f.layout.encode(t, f.symbols)...)
	return writeELF(t, elf.ET_EXEC, []part{
		{".text", fakeText, f.text}, {".rodata", fakeRodata, rodata}, {".data", fakeData, f.data},
		{".notes", 0, f.notes}, {".BTF", 0, encodeTypes(t, f.types)},
	})
}

// A part is a section, and a segment if it has an address.
type part struct {
	name string
	addr uint64
	data []byte
}

func writeELF(t testing.TB, kind elf.Type, parts []part) []byte {
	t.Helper()
	names := []byte{0}
	sections := []elf.Section64{{}}
	var progs []elf.Prog64
	var body []byte
	const headers = 64 + 8*56
	parts = append(parts, part{".shstrtab", 0, nil})
	for i, p := range parts {
		s := elf.Section64{Name: uint32(len(names)), Type: uint32(elf.SHT_PROGBITS), Addr: p.addr, Off: headers + uint64(len(body))}
		names = append(append(names, p.name...), 0)
		if i == len(parts)-1 {
			p.data, s.Type = names, uint32(elf.SHT_STRTAB)
		}
		s.Size = uint64(len(p.data))
		if p.addr != 0 {
			progs = append(progs, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: s.Off, Vaddr: p.addr, Filesz: s.Size, Memsz: s.Size})
		}
		if p.data != nil || p.name != ".BTF" {
			sections = append(sections, s)
			body = append(body, p.data...)
		}
	}
	h := elf.Header64{
		Type: uint16(kind), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: uint16(len(progs)),
		Shoff: headers + uint64(len(body)), Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(h.Ident[:], elfMagic)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var out bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&out, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(h)
	write(progs)
	out.Write(make([]byte, headers-out.Len()))
	out.Write(body)
	write(sections)
	return out.Bytes()
}
