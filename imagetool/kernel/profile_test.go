package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
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
		"security_bprm_check":      "int security_bprm_check(struct linux_binprm *bprm)",
		"ima_parse_add_rule":       "ssize_t ima_parse_add_rule(char *rule)",
		"ima_update_policy":        "void ima_update_policy(void)",
		"integrity_digsig_verify":  prototypes["integrity_digsig_verify"][0],
		"idle_thread_get":          "struct task_struct *idle_thread_get(unsigned int cpu)",
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
			IntegrityPass: 0, IntegrityFail: 2, SystemRunning: 3, LockIntegrity: 21, CPUMask: 1024, AreaArgument: 1,
		},
		Build: json.RawMessage(`{"keeps_policy":false,"CONFIG_IMA_READ_POLICY":false,"CONFIG_X86_KERNEL_IBT":false,"CONFIG_MODULE_DECOMPRESS":false}`),
		Code:  code,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestAccepted: kernels that differ in what may differ.
func TestAccepted(t *testing.T) {
	at, bprm := fakekernel.Hook("ima_appraise_measurement"), fakekernel.Hook("security_bprm_check")
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
				return p.Hold.Address == fakekernel.Sched+9 && string(p.Hold.Code) == "12345678" && built(p).IBT
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
		"bprm_is_check": {
			func(f *fakekernel.Kernel) {
				fn := typeOf[*btf.Func](t, f, "ima_appraise_measurement").Type.(*btf.FuncProto)
				fn.Params[1].Type.(*btf.Pointer).Target.(*btf.Struct).Name = "ima_iint_cache"
				fn.Params = append(fn.Params, btf.FuncParam{Name: "bprm_is_check", Type: &btf.Typedef{Name: "bool", Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}}})
			},
			func(p *profile.Profile) bool {
				return strings.HasSuffix(p.Hooks["ima_appraise_measurement"].Prototype, "modsig, bool bprm_is_check)")
			},
		},
		"algo": {
			func(f *fakekernel.Kernel) {
				fn := typeOf[*btf.Func](t, f, "integrity_digsig_verify").Type.(*btf.FuncProto)
				fn.Params = append(fn.Params, btf.FuncParam{Name: "algo", Type: &btf.Typedef{Name: "u8", Type: &btf.Int{Name: "unsigned char", Size: 1}}})
			},
			func(p *profile.Profile) bool { return p.Values.DigsigAlgo && p.Values.AreaArgument == 1 },
		},
		"blkdev_mmap_prepare of 6.17": {
			func(f *fakekernel.Kernel) { mapsByDescription(f, "vm_flags_t", "vm_flags") },
			func(p *profile.Profile) bool {
				return p.Values.AreaArgument == 0 && p.Offsets.AreaFlags == 48 && p.Hooks["blkdev_mmap"].Prototype == prototypes[blkdevMmapPrepare][0] && !p.Values.DigsigAlgo
			},
		},
		"blkdev_mmap_prepare of 6.19": {
			func(f *fakekernel.Kernel) { mapsByDescription(f, "vma_flags_t", "vma_flags") },
			func(p *profile.Profile) bool { return p.Values.AreaArgument == 0 && p.Offsets.AreaFlags == 48 },
		},
		"no lock prefixes": {
			func(f *fakekernel.Kernel) { f.Rename("__smp_locks", ""); f.Rename("__smp_locks_end", "") },
			func(*profile.Profile) bool { return true },
		},
		"policy that stays": {
			func(f *fakekernel.Kernel) {
				f.Patch(fakekernel.Function("ima_release_policy")+5, nop5)
				f.Add(fakekernel.Rodata+0x200, 'r', "ima_policy_seqops")
			},
			func(p *profile.Profile) bool { return built(p).KeepsPolicy && built(p).ReadPolicy },
		},
		"policy removed in a cold part": {
			func(f *fakekernel.Kernel) {
				f.Patch(fakekernel.Function("ima_release_policy")+5, nop5)
				f.Add(fakekernel.Spare, 't', "ima_release_policy.cold")
				f.Patch(fakekernel.Spare, fakekernel.CallTo(fakekernel.Spare, fakekernel.Remove))
			},
			func(p *profile.Profile) bool { return !built(p).KeepsPolicy },
		},
		"no securityfs_remove": {
			func(f *fakekernel.Kernel) { f.Rename("securityfs_remove", "") },
			func(p *profile.Profile) bool { return built(p).KeepsPolicy },
		},
		"modules unpacked": {
			func(f *fakekernel.Kernel) { f.Add(fakekernel.Spare, 'T', "module_decompress") },
			func(p *profile.Profile) bool { return built(p).ModuleDecompress && !built(p).IBT },
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
				f.Add(fakekernel.Spare, 't', "security_bprm_check.cold")
				f.Add(fakekernel.Spare+16, 't', "security_bprm_check.cold.7")
			},
			func(p *profile.Profile) bool { return p.Hooks["security_bprm_check"].Address == bprm },
		},
		"other functions cloned": {
			func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Spare, 't', "security_bprm_check_other.isra.0")
				f.Add(fakekernel.Spare+16, 't', "twin")
				f.Add(fakekernel.Spare+16, 't', "twin")
			},
			func(p *profile.Profile) bool { return p.Hooks["security_bprm_check"].Address == bprm },
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

// mapsByDescription makes a kernel map block devices as from 6.17 on, with flags of a type.
func mapsByDescription(f *fakekernel.Kernel, kind, member string) {
	f.Rename("blkdev_mmap", blkdevMmapPrepare)
	flags := &btf.Typedef{Name: kind, Type: &btf.Int{Name: "long unsigned int", Size: 8}}
	area := &btf.Struct{Name: "vm_area_desc", Size: 80, Members: []btf.Member{{Name: member, Type: flags, Offset: 8 * 48}}}
	f.Types = append(f.Types, area)
	for _, typ := range f.Types {
		if fn, ok := typ.(*btf.Func); ok && fn.Name == "blkdev_mmap" {
			fn.Name = blkdevMmapPrepare
			fn.Type.(*btf.FuncProto).Params = []btf.FuncParam{{Name: "desc", Type: &btf.Pointer{Target: area}}}
		}
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
	wanted := append(profile.HookNames[:], blkdevMmapPrepare)
	slices.Sort(wanted)
	if names := slices.Sorted(maps.Keys(prototypes)); !slices.Equal(names, wanted) {
		t.Errorf("prototypes of %q, want %q", names, wanted)
	}
}

func FuzzProfile(f *testing.F) {
	f.Add(fakeELF(f, newFake()))
	f.Add(fakeELF(f, switching()))
	later := newFake()
	later.Layout = fakekernel.Layouts["7.1"]
	later.Rename("fixed_percpu_data", "")
	later.Rename("xen_vcpu_info", "")
	mapsByDescription(later, "vma_flags_t", "vma_flags")
	f.Add(fakeELF(f, later))
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

// built is how the kernel of a profile was built.
func built(p *profile.Profile) Build {
	b, err := BuildOf(p)
	if err != nil {
		panic(err)
	}
	return b
}
