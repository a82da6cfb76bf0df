package fakekernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/formats/profile"
)

// A Kernel is the makings of an ELF file. What New gives is in order; tests change
// parts of it.
type Kernel struct {
	Layout  Layout
	Symbols []Symbol
	Text    []byte
	Rodata  []byte // what lies in front of kallsyms
	Data    []byte
	Tables  []byte // of what the kernel changes in its own code
	Notes   []byte
	Types   []btf.Type // nil: no BTF
}

// Where things lie.
const (
	Text    = 0xffffffff81000000
	TextEnd = Text + 0x800
	Fentry  = Text + 0x10
	Remap   = Text + 0x40  // of remap_file_pages(2)
	hooks   = Text + 0x100 // of the functions in profile.HookNames, hookSize bytes each
	Sched   = Text + 0x2c0 // of sched_init
	Remove  = Text + 0x2e0 // of securityfs_remove, which ima_release_policy calls
	Spare   = Text + 0x300 // nothing
	path    = Text + 0x400 // of the functions in Path, pathSize bytes each
	MapHook = path         // of security_mmap_file
	Rodata  = 0xffffffff82000000
	Data    = 0xffffffff83000000 // begins with init_uts_ns
	Tables  = 0xffffffff84000000

	PerCPUVCPUInfo = 0x313c0 // of xen_vcpu_info, in what each CPU has

	// Filler is how many symbols there are beside those that count.
	Filler = 2000

	hookSize  = 64
	pathSize  = 128
	Release   = 8 + 2*UTSField // in Data
	UTSField  = 65
	UTSFields = 6
)

// SchedCode is what sched_init has behind the call at its entry.
const SchedCode = "\x55\x48\x89\xe5\x41\x57\x41\x56"

// BuildID is that of each kernel.
const BuildID = "\xab\xcd\xef"

// Hook is where a function lies that the enforcer intercepts.
func Hook(name string) uint64 {
	return hooks + hookSize*uint64(slices.Index(profile.HookNames[:], name))
}

// Path has the functions that IMA appraises with and the enforcer does not intercept.
var Path = [...]string{"security_mmap_file", "ima_release_policy", "security_kernel_read_file", "process_measurement", "ima_file_mmap"}

// Function is where one of them lies.
func Function(name string) uint64 { return path + pathSize*uint64(slices.Index(Path[:], name)) }

// New makes a kernel that is in order, of a release like "6.1.0".
func New(release string) *Kernel {
	k := &Kernel{
		Layout: Layouts["6.4"],
		Text:   bytes.Repeat([]byte{0xcc}, TextEnd-Text),
		Rodata: append([]byte(Banner(release)), 0),
		Data:   make([]byte, 0x400),
		Tables: make([]byte, 0x400),
		Notes:  append(Note("Linux", 0x100, []byte("other")), Note("GNU", 3, []byte(BuildID))...),
		Types:  types(),
	}
	copy(k.Data[Release:], release)
	k.Symbols = []Symbol{
		{0, 'A', "fixed_percpu_data"},
		{PerCPUVCPUInfo, 'A', "xen_vcpu_info"},
		{Text, 'T', "_text"},
		{Text, 'T', "startup_64"},
		{Fentry, 'T', "__fentry__"},
		{Remap, 'T', "__x64_sys_remap_file_pages"},
		{Sched, 'T', "sched_init"},
		{TextEnd, 'T', "_etext"},
		{Rodata, 'R', "linux_banner"},
		{Data, 'D', "init_uts_ns"},
		{Data + 0x200, 'd', "ima_appraise"},
		{Data + 0x204, 'D', "ima_policy_flag"},
		{Data + 0x208, 'b', "kexec_load_disabled"},
		{Data + 0x20c, 'D', "system_state"},
		{Data + 0x210, 'd', "rootfs_fs_type"},
		{Data + 0x218, 'd', "__cpu_possible_mask"},
		{Data + 0x220, 'd', "ima_rules"},
		{Data + 0x228, 'D', "phys_base"},
		{Data + 0x230, 'b', "kernel_locked_down"},
		{Data + 0x234, 'b', "integrity_dir"},
		{jumps, 'D', "__start___jump_table"},
		{jumps, 'D', "__stop___jump_table"},
		{calls, 'D', "__start_static_call_sites"},
		{calls, 'D', "__stop_static_call_sites"},
		{locks, 'R', "__smp_locks"},
		{locks, 'R', "__smp_locks_end"},
		{tablesEnd, 'R', "__data_nosave"},
		{Remove, 'T', "securityfs_remove"},
	}
	for i := range Filler { // a table of symbols has thousands
		k.Add(Rodata+0x100000+uint64(i), 'R', fmt.Sprintf("filler_%d", i))
	}
	k.Patch(Remap, append(CallTo(Remap, Fentry), CallTo(Remap+5, MapHook)...))
	k.Patch(Sched, append(CallTo(Sched, Fentry), SchedCode...))
	for _, name := range profile.HookNames {
		at := Hook(name)
		k.Symbols = append(k.Symbols, Symbol{at, 'T', name})
		k.Patch(at, CallTo(at, Fentry))
	}
	for _, name := range Path {
		at := Function(name)
		k.Symbols = append(k.Symbols, Symbol{at, 'T', name})
		k.Patch(at, CallTo(at, Fentry))
	}
	at := Function("ima_release_policy") + 5
	k.Patch(at, CallTo(at, Remove))
	return k
}

// Banner is what lies at linux_banner.
func Banner(release string) string { return "Linux version " + release + " (builder@host) #1 SMP\n" }

// Patch writes code to an address of the text.
func (k *Kernel) Patch(at uint64, code []byte) { copy(k.Text[at-Text:], code) }

// CallTo is the instruction that calls a function.
func CallTo(from, to uint64) []byte {
	return binary.LittleEndian.AppendUint32([]byte{0xe8}, uint32(to-from-5)) // counts from its end
}

// Add adds a symbol.
func (k *Kernel) Add(addr uint64, kind byte, name string) {
	k.Symbols = append(k.Symbols, Symbol{addr, kind, name})
}

// Move gives a symbol another address.
func (k *Kernel) Move(name string, addr uint64) { k.Symbols[k.symbol(name)].Addr = addr }

func (k *Kernel) symbol(name string) int {
	return slices.IndexFunc(k.Symbols, func(s Symbol) bool { return s.Name == name })
}

// Rename gives a symbol another name; "" removes it.
func (k *Kernel) Rename(from, to string) {
	k.Symbols = slices.DeleteFunc(k.Symbols, func(s Symbol) bool { return s.Name == from && to == "" })
	for i := range k.Symbols {
		if k.Symbols[i].Name == from {
			k.Symbols[i].Name = to
		}
	}
}

// Note is a note of an ELF file (elf(5)).
func Note(name string, kind uint32, data []byte) []byte {
	pad4 := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, -len(b)&3)...) }
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(append(b, pad4([]byte(name+"\x00"))...), pad4(data)...)
}
