package kernel

import (
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

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
		"no appraisal in a kernel of another layout": {
			change: func(f *fakekernel.Kernel) {
				f.Layout = fakekernel.Layouts["7.1"]
				f.Rename("fixed_percpu_data", "")
				f.Rename("xen_vcpu_info", "")
				f.Rename("ima_appraise_measurement", "")
			},
			is: ErrNoAppraisal, says: "CONFIG_IMA_APPRAISE",
		},
		"a table of a few symbols": {
			change: func(f *fakekernel.Kernel) {
				f.Symbols = slices.DeleteFunc(f.Symbols, func(s fakekernel.Symbol) bool { return strings.HasPrefix(s.Name, "filler_") })
			},
			is: ErrNoKallsyms, says: "CONFIG_KALLSYMS",
		},
		"mapping of block devices of another kind": {
			change: func(f *fakekernel.Kernel) { f.Rename("blkdev_mmap", "blkdev_mmap_prepare") },
			is:     btf.ErrNotFound, says: "type of function blkdev_mmap_prepare",
		},
		"two ways of mapping block devices": {
			change: func(f *fakekernel.Kernel) {
				mapsByDescription(f, "vm_flags_t", "vm_flags")
				f.Add(fakekernel.Spare, 't', "blkdev_mmap")
			},
			says: "both blkdev_mmap and blkdev_mmap_prepare",
		},
		"no flags of the mapping of a block device": {
			change: func(f *fakekernel.Kernel) {
				mapsByDescription(f, "vm_flags_t", "vm_flags")
				typeOf[*btf.Struct](t, f, "vm_area_desc").Members[0].Name = "flags"
			},
			as: &typeError, says: "struct vm_area_desc: member vm_flags is missing",
		},
		"half of the lock prefixes": {
			change: func(f *fakekernel.Kernel) { f.Rename("__smp_locks", "") },
			as:     &symbolError, says: "no symbol __smp_locks",
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
				f.Add(fakekernel.Spare, 't', "security_bprm_check")
			},
			as: &symbolError, says: "symbol security_bprm_check is ambiguous: there are 2",
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
				f.Add(fakekernel.Spare, 't', "security_bprm_check.part.0")
			},
			as: &symbolError, says: "symbol security_bprm_check is ambiguous: the compiler also made security_bprm_check.part.0",
		},
		"variable missing": {change: func(f *fakekernel.Kernel) { f.Rename("ima_policy_flag", "ima_policy_flags") }, as: &symbolError, says: "no symbol ima_policy_flag"},
		"variable twice": {
			change: func(f *fakekernel.Kernel) {
				f.Add(fakekernel.Data+0x300, 'd', "system_state")
			},
			as: &symbolError, says: "symbol system_state is ambiguous",
		},
		"no end of the text": {change: func(f *fakekernel.Kernel) { f.Rename("_etext", "") }, as: &symbolError, says: "_etext"},

		"another parameter": {
			change: func(f *fakekernel.Kernel) {
				p := proto(f, "ima_appraise_measurement")
				p.Params = append(p.Params, btf.FuncParam{Name: "unheard_of", Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}})
			},
			as: &prototypeError, says: "const struct modsig *modsig, _Bool unheard_of)",
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
			change: func(f *fakekernel.Kernel) {
				proto(f, "ima_update_policy").Return = proto(f, "security_bprm_check").Return
			},
			as: &prototypeError, says: "int ima_update_policy(void)",
		},
		"a pointer to a function": {
			change: func(f *fakekernel.Kernel) {
				proto(f, "security_bprm_check").Params[0].Type.(*btf.Pointer).Target = proto(f, "ima_update_policy")
			},
			as: &prototypeError, says: "int security_bprm_check([*btf.FuncProto] *bprm)",
		},
		"no type of a hook": {
			change: func(f *fakekernel.Kernel) { typeOf[*btf.Func](t, f, "ima_update_policy").Name = "other" },
			is:     btf.ErrNotFound, says: "function ima_update_policy",
		},
		"two types of a hook": {
			change: func(f *fakekernel.Kernel) {
				f.Types = append(f.Types, &btf.Func{Name: "ima_update_policy", Type: proto(f, "security_bprm_check")})
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
		"endless banner": {change: func(f *fakekernel.Kernel) {
			f.Rodata = append([]byte(bannerStart), slices.Repeat([]byte("x"), 1000)...)
		}, says: "linux_banner: the text at address 0xffffffff82000000 does not end within 512 bytes"},
		"no build id": {change: func(f *fakekernel.Kernel) { f.Notes = fakekernel.Note("Linux", noteBuildID, []byte{1}) }, says: "no build id"},
		"long note":   {change: func(f *fakekernel.Kernel) { f.Notes[4] = 0xff }, says: ".notes: a note is longer"},
		"hooks at one place": {
			change: func(f *fakekernel.Kernel) {
				for i := range f.Symbols {
					if f.Symbols[i].Name == "ima_update_policy" {
						f.Symbols[i].Addr = appraise
					}
				}
			},
			says: "lie at one place",
		},
		"hook outside of the file": {
			change: func(f *fakekernel.Kernel) {
				for i := range f.Symbols {
					if f.Symbols[i].Name == "security_bprm_check" {
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
			is: ErrNoKallsyms, says: "(known are Linux 6.1 to 7.3 for x86-64 with IMA appraisal, BTF and kallsyms, as Debian builds them; this is 6.1.0-fake)",
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

// TestUnknown: a refusal says which kernel it is, if the file says that.
func TestUnknown(t *testing.T) {
	var unknown *UnknownError
	for banner, release := range map[string]string{
		"":                         fakeRelease,
		"Linux version %s (%s)":    "",
		"Linux version 6.6.6\n(x)": "",
		"Linux version " + strings.Repeat("6", 100) + " (x)": "",
	} {
		f := newFake()
		if f.Types = nil; banner != "" {
			f.Rodata = append([]byte(banner), 0)
		}
		_, err := Profile(fakeELF(t, f), Options{})
		if !errors.As(err, &unknown) || unknown.Release != release {
			t.Errorf("%q: %v", banner, err)
		}
	}
	if _, err := Profile([]byte("text"), Options{}); errors.As(err, &unknown) {
		t.Errorf("of no kernel: %v", err)
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
