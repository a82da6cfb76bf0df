package kernel

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

const fakeRelease = "6.1.0-fake"

func newFake() *fakekernel.Kernel { return fakekernel.New(fakeRelease) }

func fakeELF(t testing.TB, k *fakekernel.Kernel) []byte {
	t.Helper()
	b, err := k.ELF()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// typeOf gives a type of a kernel to be changed.
func typeOf[T btf.Type](t testing.TB, k *fakekernel.Kernel, name string) T {
	t.Helper()
	for _, typ := range k.Types {
		if found, ok := typ.(T); ok && typ.TypeName() == name {
			return found
		}
	}
	t.Fatalf("the kernel has no type %s", name)
	panic("not reached")
}

func TestProfile(t *testing.T) {
	file := fakeELF(t, newFake())
	got, err := Profile(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file)
	hooks := map[string]profile.Hook{}
	for name, prototype := range map[string]string{
		"ima_appraise_measurement": prototypes["ima_appraise_measurement"][0],
		"ima_bprm_check":           "int ima_bprm_check(struct linux_binprm *bprm)",
		"ima_parse_add_rule":       "ssize_t ima_parse_add_rule(char *rule)",
		"ima_update_policy":        "void ima_update_policy(void)",
		"integrity_digsig_verify":  prototypes["integrity_digsig_verify"][0],
		"blkdev_mmap":              "int blkdev_mmap(struct file *file, struct vm_area_struct *vma)",
	} {
		hooks[name] = profile.Hook{Address: fakekernel.Hook(name), Bytes: profile.Bytes{0x0f, 0x1f, 0x44, 0, 0}, Prototype: prototype}
	}
	var code []profile.Function
	for i, name := range slices.Concat(profile.HookNames[:], fakekernel.Path[:]) {
		f := profile.Function{Name: name, Address: fakekernel.Hook(name), Size: 64, Patched: []profile.Span{{At: 0, Size: 5}}}
		if n := i - len(profile.HookNames); n >= 0 {
			f.Address, f.Size = fakekernel.Function(name), 128
		}
		code = append(code, f)
	}
	code[len(code)-1].Size = 0x200 // up to _etext
	want := &profile.Profile{
		Release: "6.1.0-fake", BuildID: "abcdef", Banner: fakekernel.Banner(fakeRelease), Kernel: sum[:],
		Text: 0xffffffff81000000, TextEnd: 0xffffffff81000800,
		Hooks: hooks,
		Hold:  profile.Hold{Address: fakekernel.Sched + 5, Code: profile.Bytes(fakekernel.SchedCode)},
		Variables: profile.Variables{
			XenVCPUInfo: fakekernel.PerCPUVCPUInfo,
			Banner:      0xffffffff82000000, Appraise: 0xffffffff83000200, PolicyFlag: 0xffffffff83000204,
			KexecLoadDisabled: 0xffffffff83000208, SystemState: 0xffffffff8300020c, RootfsType: 0xffffffff83000210,
			PossibleCPUs: 0xffffffff83000218, Rules: 0xffffffff83000220, PhysBase: 0xffffffff83000228, LockedDown: 0xffffffff83000230,
		},
		Offsets: profile.Offsets{
			FileInode: 32, InodeSB: 40, SBDev: 16, SBFlags: 88, SBType: 40, SBBlock: 96, BlockDisk: 24, DiskName: 12, DiskState: 64, DiskSeq: 120,
			BinprmFile: 64, AreaFlags: 72,
		},
		Values: profile.Values{
			Funcs: map[string]uint32{
				"FILE_CHECK": 1, "MMAP_CHECK": 2, "BPRM_CHECK": 3, "CREDS_CHECK": 4, "POST_SETATTR": 5, "MODULE_CHECK": 6,
				"FIRMWARE_CHECK": 7, "KEXEC_KERNEL_CHECK": 8, "KEXEC_INITRAMFS_CHECK": 9, "POLICY_CHECK": 10,
			},
			IntegrityPass: 0, IntegrityFail: 2, SystemRunning: 3, LockIntegrity: 21, CPUMask: 1024,
		},
		Code: code,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestAccepted: kernels that differ in what may differ.
func TestAccepted(t *testing.T) {
	at, bprm := fakekernel.Hook("ima_appraise_measurement"), fakekernel.Hook("ima_bprm_check")
	for name, c := range map[string]struct {
		change func(*fakekernel.Kernel)
		check  func(*profile.Profile) bool
	}{
		"endbr64": {
			func(f *fakekernel.Kernel) {
				f.Patch(at, append([]byte{0xf3, 0x0f, 0x1e, 0xfa}, fakekernel.CallTo(at+4, fakekernel.Fentry)...))
			},
			func(p *profile.Profile) bool { return p.Hooks["ima_appraise_measurement"].Address == at+4 },
		},
		"nops on disk": {
			func(f *fakekernel.Kernel) {
				f.Rename("__fentry__", "")
				f.Patch(fakekernel.Sched, nop5)
				for _, name := range profile.HookNames {
					f.Patch(fakekernel.Hook(name), nop5)
				}
			},
			func(p *profile.Profile) bool { return p.Hooks["ima_appraise_measurement"].Address == at },
		},
		"endbr64 and a nop": {
			func(f *fakekernel.Kernel) { f.Patch(at, append([]byte{0xf3, 0x0f, 0x1e, 0xfa}, nop5...)) },
			func(p *profile.Profile) bool { return p.Hooks["ima_appraise_measurement"].Address == at+4 },
		},
		"sched_init with endbr64": {
			func(f *fakekernel.Kernel) {
				const sched = fakekernel.Sched
				f.Patch(sched, append([]byte{0xf3, 0x0f, 0x1e, 0xfa}, fakekernel.CallTo(sched+4, fakekernel.Fentry)...))
				f.Patch(sched+9, []byte("12345678"))
			},
			func(p *profile.Profile) bool {
				return p.Hold.Address == fakekernel.Sched+9 && string(p.Hold.Code) == "12345678"
			},
		},
		"no Xen": {
			func(f *fakekernel.Kernel) { f.Rename("xen_vcpu_info", "") },
			func(p *profile.Profile) bool { return p.Variables.XenVCPUInfo == 0 },
		},
		"ima_iint_cache": {
			func(f *fakekernel.Kernel) {
				fn := typeOf[*btf.Func](t, f, "ima_appraise_measurement")
				fn.Type.(*btf.FuncProto).Params[1].Type.(*btf.Pointer).Target.(*btf.Struct).Name = "ima_iint_cache"
			},
			func(p *profile.Profile) bool {
				return strings.Contains(p.Hooks["ima_appraise_measurement"].Prototype, "struct ima_iint_cache *iint")
			},
		},
		"rules for what a program asks for": { // from 6.3 on; the compiler may have put ima_file_mmap into its only caller
			func(f *fakekernel.Kernel) {
				e := typeOf[*btf.Enum](t, f, "ima_hooks")
				e.Values = append(e.Values, btf.EnumValue{Name: "MMAP_CHECK_REQPROT", Value: 20})
				typeOf[*btf.Func](t, f, "ima_file_mmap").Name = "other"
			},
			func(p *profile.Profile) bool { return p.Values.Funcs["MMAP_CHECK_REQPROT"] == 20 },
		},
		"remap_file_pages in parts": {
			func(f *fakekernel.Kernel) {
				const inner = fakekernel.Spare
				f.Patch(fakekernel.Remap+5, fakekernel.CallTo(fakekernel.Remap+5, inner))
				f.Add(inner, 't', "__do_sys_remap_file_pages")
				f.Patch(inner+3, fakekernel.CallTo(inner+3, fakekernel.MapHook))
			},
			func(*profile.Profile) bool { return true },
		},
		"no remap_file_pages": {
			func(f *fakekernel.Kernel) { f.Rename("__x64_sys_remap_file_pages", "") },
			func(*profile.Profile) bool { return true },
		},
		"cold part": {
			func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Spare, 't', "ima_bprm_check.cold")
				f.Add(fakekernel.Spare+16, 't', "ima_bprm_check.cold.7")
			},
			func(p *profile.Profile) bool { return p.Hooks["ima_bprm_check"].Address == bprm },
		},
		"other functions cloned": {
			func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Spare, 't', "ima_bprm_check_other.isra.0")
				f.Add(fakekernel.Spare+16, 't', "twin")
				f.Add(fakekernel.Spare+16, 't', "twin")
			},
			func(p *profile.Profile) bool { return p.Hooks["ima_bprm_check"].Address == bprm },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.change(f)
			p, err := Profile(fakeELF(t, f), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(p) {
				t.Errorf("%+v", p)
			}
		})
	}
	for name, l := range fakekernel.Layouts {
		f := newFake()
		if f.Layout = l; !l.PerCPU {
			f.Rename("fixed_percpu_data", "")
			f.Rename("xen_vcpu_info", "")
		}
		if _, err := Profile(fakeELF(t, f), Options{}); err != nil {
			t.Errorf("layout of %s: %v", name, err)
		}
	}
}

// TestRefused: each reason, by its error and by what it says.
func TestRefused(t *testing.T) {
	appraise := fakekernel.Hook("ima_appraise_measurement")
	var symbolError *SymbolError
	var prototypeError *PrototypeError
	var typeError *TypeError
	var bannerError *BannerError
	var mappingError *MappingError
	proto := func(f *fakekernel.Kernel, name string) *btf.FuncProto {
		return typeOf[*btf.Func](t, f, name).Type.(*btf.FuncProto)
	}
	for name, c := range map[string]struct {
		change func(*fakekernel.Kernel)
		is     error // or
		as     any
		says   string
	}{
		"no appraisal": {
			change: func(f *fakekernel.Kernel) { f.Rename("ima_appraise_measurement", "") },
			is:     ErrNoAppraisal, says: "CONFIG_IMA_APPRAISE",
		},
		"no symbols": {
			change: func(f *fakekernel.Kernel) {
				f.Layout = fakekernel.Layout{}
				f.Symbols = f.Symbols[:1]
				f.Symbols[0].Addr = 1
			},
			is: ErrNoKallsyms, says: "CONFIG_KALLSYMS",
		},
		"no variables among the symbols": {
			change: func(f *fakekernel.Kernel) {
				f.Symbols = slices.DeleteFunc(f.Symbols, func(s fakekernel.Symbol) bool { return s.Addr >= fakekernel.Data })
			},
			is: ErrNoDataSymbols, says: "CONFIG_KALLSYMS_ALL",
		},
		"no sched_init": {change: func(f *fakekernel.Kernel) { f.Rename("sched_init", "sched_init.isra.0") }, as: &symbolError, says: "no symbol sched_init, only"},
		"sched_init twice": {
			change: func(f *fakekernel.Kernel) { f.Add(fakekernel.Spare, 't', "sched_init") },
			as:     &symbolError, says: "symbol sched_init is ambiguous: there are 2",
		},
		"sched_init untraced": {change: func(f *fakekernel.Kernel) { f.Patch(fakekernel.Sched, []byte{0x55}) }, is: ErrNoFentry, says: "function sched_init: no call of __fentry__"},
		"xen_vcpu_info twice": {
			change: func(f *fakekernel.Kernel) { f.Add(fakekernel.PerCPUVCPUInfo+64, 'A', "xen_vcpu_info") },
			as:     &symbolError, says: "symbol xen_vcpu_info is ambiguous: there are 2",
		},
		"no BTF":    {change: func(f *fakekernel.Kernel) { f.Types = nil }, is: ErrNoBTF, says: "CONFIG_DEBUG_INFO_BTF"},
		"no fentry": {change: func(f *fakekernel.Kernel) { f.Patch(appraise, []byte{0x55, 0x48, 0x89, 0xe5, 0x90}) }, is: ErrNoFentry, says: "function ima_appraise_measurement: no call of __fentry__"},
		"another call": {change: func(f *fakekernel.Kernel) {
			f.Patch(appraise, fakekernel.CallTo(appraise, fakekernel.Text))
		}, is: ErrNoFentry, says: "ima_appraise_measurement"},
		"another nop":  {change: func(f *fakekernel.Kernel) { f.Patch(appraise, []byte{0x66, 0x66, 0x90, 0x90, 0x90}) }, is: ErrNoFentry, says: "ima_appraise_measurement"},
		"only mcount":  {change: func(f *fakekernel.Kernel) { f.Rename("__fentry__", "mcount") }, is: ErrNoFentry, says: "__fentry__"},
		"hook missing": {change: func(f *fakekernel.Kernel) { f.Rename("ima_update_policy", "") }, as: &symbolError, says: "no symbol ima_update_policy"},
		"hook twice": {
			change: func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Spare, 't', "ima_bprm_check")
			},
			as: &symbolError, says: "symbol ima_bprm_check is ambiguous: there are 2",
		},
		"hook as a clone only": {
			change: func(f *fakekernel.Kernel) { f.Rename("ima_parse_add_rule", "ima_parse_add_rule.isra.0") },
			as:     &symbolError, says: "no symbol ima_parse_add_rule, only what the compiler made of it: ima_parse_add_rule.isra.0",
		},
		"appraisal as a clone only": {
			change: func(f *fakekernel.Kernel) {
				f.Rename("ima_appraise_measurement", "ima_appraise_measurement.constprop.0")
			},
			as: &symbolError, says: "only what the compiler made of it",
		},
		"hook and a clone": {
			change: func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Spare, 't', "ima_bprm_check.part.0")
			},
			as: &symbolError, says: "symbol ima_bprm_check is ambiguous: the compiler also made ima_bprm_check.part.0",
		},
		"variable missing": {change: func(f *fakekernel.Kernel) { f.Rename("ima_policy_flag", "ima_policy_flags") }, as: &symbolError, says: "no symbol ima_policy_flag"},
		"variable twice": {
			change: func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Data+0x300, 'd', "system_state")
			},
			as: &symbolError, says: "symbol system_state is ambiguous",
		},
		"no end of the text": {change: func(f *fakekernel.Kernel) { f.Rename("_etext", "") }, as: &symbolError, says: "_etext"},

		"another parameter": { // as in 7.0
			change: func(f *fakekernel.Kernel) {
				p := proto(f, "ima_appraise_measurement")
				p.Params = append(p.Params, btf.FuncParam{Name: "bprm_is_check", Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}})
			},
			as: &prototypeError, says: "const struct modsig *modsig, _Bool bprm_is_check)",
		},
		"one parameter less": {
			change: func(f *fakekernel.Kernel) { p := proto(f, "integrity_digsig_verify"); p.Params = p.Params[1:] },
			as:     &prototypeError, says: "int integrity_digsig_verify(const char *sig, int siglen,",
		},
		"parameters exchanged": {
			change: func(f *fakekernel.Kernel) { p := proto(f, "integrity_digsig_verify").Params; p[1], p[3] = p[3], p[1] },
			as:     &prototypeError, says: "const char *digest, int siglen, const char *sig",
		},
		"another type": {
			change: func(f *fakekernel.Kernel) {
				proto(f, "ima_parse_add_rule").Params[0].Type.(*btf.Pointer).Target = &btf.Void{}
			},
			as: &prototypeError, says: "ssize_t ima_parse_add_rule(void *rule)",
		},
		"another result": {
			change: func(f *fakekernel.Kernel) { proto(f, "ima_update_policy").Return = proto(f, "ima_bprm_check").Return },
			as:     &prototypeError, says: "int ima_update_policy(void)",
		},
		"a pointer to a function": {
			change: func(f *fakekernel.Kernel) {
				proto(f, "ima_bprm_check").Params[0].Type.(*btf.Pointer).Target = proto(f, "ima_update_policy")
			},
			as: &prototypeError, says: "int ima_bprm_check([*btf.FuncProto] *bprm)",
		},
		"no type of a hook": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Func](t, f, "ima_update_policy").Name = "other" },
			is:     btf.ErrNotFound, says: "function ima_update_policy",
		},
		"two types of a hook": {
			change: func(f *fakekernel.Kernel) {
				f.Types = append(f.Types, &btf.Func{Name: "ima_update_policy", Type: proto(f, "ima_bprm_check")})
			},
			is: btf.ErrMultipleMatches, says: "function ima_update_policy",
		},

		"no structure": {change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "uts_namespace").Name = "ns" }, is: btf.ErrNotFound, says: "struct uts_namespace"},
		"no member":    {change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "inode").Members[0].Name = "sb" }, as: &typeError, says: "struct inode: member i_sb is missing"},
		"member of another size": {
			change: func(f *fakekernel.Kernel) {
				typeOf[*btf.Struct](t, f, "super_block").Members[0].Type.(*btf.Typedef).Type = &btf.Int{Name: "unsigned short", Size: 2}
			},
			as: &typeError, says: "struct super_block: member s_dev does not have 4 bytes",
		},
		"member of another type": {
			change: func(f *fakekernel.Kernel) {
				m := typeOf[*btf.Struct](t, f, "super_block").Members
				m[1].Type = m[2].Type
			},
			as: &typeError, says: "struct super_block: member s_type is of type unsigned long, want struct file_system_type *",
		},
		"member behind the end": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "inode").Members[0].Offset = 8 * 57 },
			as:     &typeError, says: "member i_sb lies at bit 456 of 64 bytes",
		},
		"member between bytes": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "inode").Members[0].Offset = 8*40 + 1 },
			as:     &typeError, says: "member i_sb lies at bit 321",
		},
		"no diskseq": { // before 5.15
			change: func(f *fakekernel.Kernel) {
				d := typeOf[*btf.Struct](t, f, "gendisk")
				d.Members = d.Members[:2]
			},
			as: &typeError, says: "struct gendisk: member diskseq is missing",
		},
		"no enumeration": {change: func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "system_states").Name = "states" }, is: btf.ErrNotFound, says: "enum system_states"},
		"no value": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "system_states").Values[1].Name = "SYSTEM_UP" },
			as:     &typeError, says: "enum system_states: has no member SYSTEM_RUNNING",
		},
		"no ima_rules":   {change: func(f *fakekernel.Kernel) { f.Rename("ima_rules", "") }, as: &symbolError, says: "no symbol ima_rules"},
		"no phys_base":   {change: func(f *fakekernel.Kernel) { f.Rename("phys_base", "") }, as: &symbolError, says: "no symbol phys_base"},
		"no set of CPUs": {change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "cpumask").Name = "mask" }, is: btf.ErrNotFound, says: "struct cpumask"},
		"odd set of CPUs": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Struct](t, f, "cpumask").Size = 2048 },
			as:     &typeError, says: "struct cpumask: member bits is of type unsigned long[128], want unsigned long[256]",
		},
		"large enumeration": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "integrity_status").Size = 8 },
			as:     &typeError, says: "enum integrity_status: has 8 bytes",
		},
		"negative value": {
			change: func(f *fakekernel.Kernel) {
				e := typeOf[*btf.Enum](t, f, "integrity_status")
				e.Signed = true
				e.Values[0].Value = 1<<64 - 1
			},
			as: &typeError, says: "INTEGRITY_PASS does not fit",
		},
		"function missing in the enumeration": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Enum](t, f, "ima_hooks").Values[2].Name = "MAP_CHECK" },
			says:   "MMAP_CHECK is missing",
		},

		"ima_file_mmap before 6.3": {
			change: func(f *fakekernel.Kernel) {
				p := proto(f, "ima_file_mmap")
				p.Params = []btf.FuncParam{p.Params[0], p.Params[2]}
			},
			as: &mappingError, says: "the protection that a program wants",
		},
		"no type of ima_file_mmap": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Func](t, f, "ima_file_mmap").Name = "other" },
			is:     btf.ErrNotFound, says: "function ima_file_mmap",
		},
		"remap_file_pages before 6.12": {
			change: func(f *fakekernel.Kernel) { f.Patch(fakekernel.Remap+5, nop5) },
			as:     &mappingError, says: "remap_file_pages(2) does not call security_mmap_file",
		},
		"remap_file_pages before another caller": {
			change: func(f *fakekernel.Kernel) {
				f.Patch(fakekernel.Remap+5, nop5)
				f.Patch(fakekernel.Remap+16, fakekernel.CallTo(fakekernel.Remap+16, fakekernel.MapHook))
				f.Add(fakekernel.Remap+16, 't', "vm_mmap_pgoff")
			},
			as: &mappingError, says: "remap_file_pages(2)",
		},
		"no security_mmap_file": {
			change: func(f *fakekernel.Kernel) { f.Rename("security_mmap_file", "") },
			as:     &mappingError, says: "remap_file_pages(2)",
		},

		"another release": {change: func(f *fakekernel.Kernel) { f.Data[fakekernel.Release]++ }, as: &bannerError, says: `is not that of release "7.1.0-fake"`},
		"longer release":  {change: func(f *fakekernel.Kernel) { f.Data[fakekernel.Release+len(fakeRelease)] = '1' }, as: &bannerError, says: `"6.1.0-fake1"`},
		"shorter release": {change: func(f *fakekernel.Kernel) { f.Data[fakekernel.Release+len(fakeRelease)-1] = 0 }, as: &bannerError, says: `"6.1.0-fak"`},
		"no release":      {change: func(f *fakekernel.Kernel) { f.Data[fakekernel.Release] = 0 }, as: &bannerError, says: `release ""`},
		"banner cut":      {change: func(f *fakekernel.Kernel) { f.Rodata[len(fakekernel.Banner(fakeRelease))-1] = 0 }, as: &bannerError, says: "the banner"},
		"endless banner":  {change: func(f *fakekernel.Kernel) { f.Rodata = slices.Repeat([]byte("x"), 1000) }, says: "linux_banner: the text at address 0xffffffff82000000 does not end within 512 bytes"},
		"no build id":     {change: func(f *fakekernel.Kernel) { f.Notes = fakekernel.Note("Linux", noteBuildID, []byte{1}) }, says: "no build id"},
		"long note":       {change: func(f *fakekernel.Kernel) { f.Notes[4] = 0xff }, says: ".notes: a note is longer"},
		"hooks at one place": {
			change: func(f *fakekernel.Kernel) {
				for i := range f.Symbols {
					if f.Symbols[i].Name == "ima_bprm_check" {
						f.Symbols[i].Addr = appraise
					}
				}
			},
			says: "lie at one place",
		},
		"hook outside of the file": {
			change: func(f *fakekernel.Kernel) {
				for i := range f.Symbols {
					if f.Symbols[i].Name == "ima_bprm_check" {
						f.Symbols[i].Addr = fakekernel.TextEnd - 4
					}
				}
			},
			says: "4 bytes lie at address 0xffffffff810007fc",
		},
		"banner outside of the file": {
			change: func(f *fakekernel.Kernel) {
				for i := range f.Symbols {
					if f.Symbols[i].Name == "linux_banner" {
						f.Symbols[i].Addr = 0xffffffff90000000
					}
				}
			},
			says: "linux_banner: nothing lies at address 0xffffffff90000000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.change(f)
			p, err := Profile(fakeELF(t, f), Options{})
			if err == nil || p != nil {
				t.Fatalf("accepted: %+v, %v", p, err)
			}
			if c.is != nil && !errors.Is(err, c.is) || c.as != nil && !errors.As(err, c.as) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%T %v\nwant %v %T with %q", err, err, c.is, c.as, c.says)
			}
		})
	}
}

func TestNotAKernel(t *testing.T) {
	whole := fakeELF(t, newFake())
	changed := func(at int, b ...byte) []byte {
		c := slices.Clone(whole)
		copy(c[at:], b)
		return c
	}
	for name, file := range map[string][]byte{
		"empty":       nil,
		"text":        []byte("#!/bin/sh\n"),
		"magic only":  []byte(elfMagic),
		"32 bits":     changed(elf.EI_CLASS, byte(elf.ELFCLASS32)),
		"arm64":       changed(18, byte(elf.EM_AARCH64)),
		"program":     changed(16, byte(elf.ET_DYN)),
		"big-endian":  changed(elf.EI_DATA, byte(elf.ELFDATA2MSB)),
		"header only": whole[:64],
	} {
		if _, err := Profile(file, Options{}); !errors.Is(err, ErrNotKernel) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 0; n < len(whole); n += 13 {
		if _, err := Profile(whole[:n], Options{}); err == nil {
			t.Errorf("accepted cut to %d of %d bytes", n, len(whole))
		}
	}
	if _, err := Profile(make([]byte, MaxSize+1), Options{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("of more than MaxSize bytes: %v", err)
	}
}

// TestSegments: addresses that lead out of the file, or around the end of the
// address space.
func TestSegments(t *testing.T) {
	file := fakeELF(t, newFake())
	for _, c := range []struct {
		at    int // in the first program header
		value uint64
	}{
		{8, 1 << 63}, {8, 1<<64 - 1}, {32, 1 << 62}, {32, 1<<64 - 1}, {16, 1<<64 - 1}, {16, 0},
	} {
		b := slices.Clone(file)
		binary.LittleEndian.PutUint64(b[64+c.at:], c.value)
		if _, err := Profile(b, Options{}); err == nil {
			t.Errorf("accepted with %#x at %d of the header", c.value, c.at)
		}
	}
}

// TestPrototypes: there is one for each hook of a profile, and none for anything else.
func TestPrototypes(t *testing.T) {
	if names := slices.Sorted(maps.Keys(prototypes)); !slices.Equal(names, profile.HookNames[:]) {
		t.Errorf("prototypes of %q, hooks of %q", names, profile.HookNames)
	}
}

func FuzzProfile(f *testing.F) {
	f.Add(fakeELF(f, newFake()))
	f.Add(fakeELF(f, switching()))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := Profile(file, Options{})
		if (p == nil) != (err != nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if p != nil && check(p) != nil {
			t.Error(check(p))
		}
	})
}
