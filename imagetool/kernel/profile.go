package kernel

import (
	"crypto/sha256"
	"errors"
	"iter"
	"reflect"
	"strings"

	"github.com/vmseal/vmseal/formats/profile"
)

// Options say what a profile is wanted of.
type Options struct {
	NoLockdown bool // leave lockdown out, which not every kernel has
}

// Profile makes the profile of a kernel from its file, vmlinuz or vmlinux. What policy
// the kernel is to load, and from which initrd, is for the caller to add.
func Profile(file []byte, o Options) (*profile.Profile, error) {
	elf, err := vmlinux(file)
	if err != nil {
		return nil, err
	}
	p, err := build(elf, o)
	if errors.Is(err, ErrNotKernel) {
		return nil, err
	}
	if err != nil {
		return nil, &UnknownError{said(elf), err}
	}
	sum := sha256.Sum256(file)
	p.Kernel = sum[:]
	return p, nil
}

func build(elf []byte, o Options) (*profile.Profile, error) {
	k, err := newBuilder(elf)
	if err != nil {
		return nil, err
	}
	k.options = o
	return k.profile()
}

// A builder has what a profile is taken from.
type builder struct {
	options Options
	image   *image
	symbols *symbols
	types   *types
}

// symbolNames are all that is looked up.
var symbolNames = func() []string {
	names := append([]string{"_text", "_etext", "__fentry__", "init_uts_ns", "sched_init", isLockedDown, blkdevMmapPrepare}, profile.HookNames[:]...)
	names = append(names, buildNames...)
	names = append(names, tableNames...)
	for name := range fields[uint64](new(profile.Variables)) {
		names = append(names, name)
	}
	return names
}()

// fields gives the places of the numbers in a part of a profile by the kernel's names for
// them, which are also those in the profile's text.
func fields[T uint32 | uint64](part any) iter.Seq2[string, *T] {
	v := reflect.ValueOf(part).Elem()
	return func(yield func(string, *T) bool) {
		for i := range v.NumField() {
			if !yield(v.Type().Field(i).Tag.Get("json"), v.Field(i).Addr().Interface().(*T)) {
				return
			}
		}
	}
}

func newBuilder(elf []byte) (*builder, error) {
	m, err := parseImage(elf)
	if err != nil {
		return nil, err
	}
	s, err := readSymbols(m, symbolNames)
	if err != nil {
		return nil, err
	}
	const appraise = "ima_appraise_measurement"
	switch {
	case len(s.byName[appraise]) == 0 && len(s.like(appraise)) == 0:
		return nil, ErrNoAppraisal
	case !s.data:
		return nil, ErrNoDataSymbols
	}
	t, err := readTypes(m.section(".BTF"))
	if err != nil {
		return nil, err
	}
	return &builder{image: m, symbols: s, types: t}, nil
}

func (k *builder) profile() (*profile.Profile, error) {
	p := new(profile.Profile)
	for _, step := range []func(*profile.Profile) error{
		k.text, k.variables, k.lockdown, k.identity, k.hooks, k.hold, k.offsets, k.values, k.build, k.mapping, k.code, check,
	} {
		if err := step(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (k *builder) text(p *profile.Profile) (err error) {
	if p.Text, err = k.symbols.addr("_text"); err != nil {
		return err
	}
	p.TextEnd, err = k.symbols.addr("_etext")
	return err
}

// perCPU is the variable that not every kernel has, and each CPU of its own (CONFIG_XEN).
const perCPU = "xen_vcpu_info"

func (k *builder) variables(p *profile.Profile) (err error) {
	for name, to := range fields[uint64](&p.Variables) {
		if name == lockedDown || name == perCPU && len(k.symbols.byName[name]) == 0 {
			continue
		}
		if *to, err = k.symbols.addr(name); err != nil {
			return err
		}
	}
	return nil
}

func (k *builder) hooks(p *profile.Profile) (err error) {
	p.Hooks = make(map[string]profile.Hook)
	for _, name := range profile.HookNames {
		if p.Hooks[name], err = k.hook(name); err != nil {
			return err
		}
	}
	return nil
}

// members says of what type those are whose offsets a profile has.
var members = map[string]member{
	"file.f_inode":         {kind: "struct inode *", size: 8},
	"inode.i_sb":           {kind: "struct super_block *", size: 8},
	"super_block.s_dev":    {kind: "dev_t", size: 4},
	"super_block.s_iflags": {kind: "unsigned long", size: 8},
	"super_block.s_type":   {kind: "struct file_system_type *", size: 8},
	"super_block.s_bdev":   {kind: "struct block_device *", size: 8},
	"block_device.bd_disk": {kind: "struct gendisk *", size: 8},
	"gendisk.disk_name":    {kind: "char[32]", size: 32},
	"gendisk.state":        {kind: "unsigned long", size: 8},
	"gendisk.diskseq":      {kind: "u64", size: 8}, // since 5.15
	"linux_binprm.file":    {kind: "struct file *", size: 8},
}

// areaFlags are where the flags of a mapping stand, the newest first. What a function is
// called with decides on the structure.
var areaFlags = map[string][]member{
	"blkdev_mmap": {{"vm_area_struct", "vm_flags", "unsigned long|const vm_flags_t", 8}}, // before 6.3 | from then on
	blkdevMmapPrepare: {
		{"vm_area_desc", "vma_flags", "vma_flags_t", 8}, // from 6.19; a bitmap, with the bits in the same order
		{"vm_area_desc", "vm_flags", "vm_flags_t", 8},
	},
}

func (k *builder) offsets(p *profile.Profile) (err error) {
	for name, to := range fields[uint32](&p.Offsets) {
		wanted := areaFlags[k.function("blkdev_mmap")]
		if m, ok := members[name]; ok {
			m.structure, m.name, _ = strings.Cut(name, ".")
			wanted = []member{m}
		}
		for _, m := range wanted {
			if *to, err = k.types.offset(m); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *builder) values(p *profile.Profile) (err error) {
	v := &p.Values
	if v.Funcs, err = k.types.funcs(); err != nil {
		return err
	}
	if v.IntegrityPass, err = k.types.value("integrity_status", "INTEGRITY_PASS"); err != nil {
		return err
	}
	if v.IntegrityFail, err = k.types.value("integrity_status", "INTEGRITY_FAIL"); err != nil {
		return err
	}
	if v.SystemRunning, err = k.types.value("system_states", "SYSTEM_RUNNING"); err != nil {
		return err
	}
	if v.AreaArgument = 1; k.function("blkdev_mmap") == blkdevMmapPrepare {
		v.AreaArgument = 0
	}
	v.DigsigAlgo = p.Hooks["integrity_digsig_verify"].Prototype == digsigAlgo
	v.CPUMask, err = k.types.cpuMask()
	return err
}
