package kernel

import (
	"github.com/vmseal/vmseal/formats/profile"
)

// Profile makes the profile of a kernel from its file, vmlinuz or vmlinux. What policy
// the kernel is to load is for the caller to add.
func Profile(file []byte) (*profile.Profile, error) {
	elf, err := vmlinux(file)
	if err != nil {
		return nil, err
	}
	k, err := newBuilder(elf)
	if err != nil {
		return nil, err
	}
	return k.profile()
}

// A builder has what a profile is taken from.
type builder struct {
	image   *image
	symbols *symbols
	types   *types
}

// symbolNames are all that is looked up.
var symbolNames = []string{
	"_text", "_etext", "__fentry__",
	"ima_appraise_measurement", "integrity_digsig_verify", "ima_parse_add_rule", "ima_update_policy", "ima_bprm_check", "blkdev_mmap",
	"ima_appraise", "ima_policy_flag", "kexec_load_disabled", "rootfs_fs_type", "system_state",
	"linux_banner", "init_uts_ns",
	"sched_init", "xen_vcpu_info",
}

func newBuilder(elf []byte) (*builder, error) {
	m, err := parseImage(elf)
	if err != nil {
		return nil, err
	}
	s, err := readSymbols(m.section(".rodata"), symbolNames)
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
	return &builder{m, s, t}, nil
}

func (k *builder) profile() (*profile.Profile, error) {
	p := new(profile.Profile)
	for _, step := range []func(*profile.Profile) error{k.text, k.variables, k.identity, k.hooks, k.hold, k.offsets, k.values, check} {
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

func (k *builder) variables(p *profile.Profile) (err error) {
	v := &p.Variables
	for _, x := range []struct {
		to   *uint64
		name string
	}{
		{&v.Banner, "linux_banner"},
		{&v.Appraise, "ima_appraise"},
		{&v.PolicyFlag, "ima_policy_flag"},
		{&v.KexecLoadDisabled, "kexec_load_disabled"},
		{&v.SystemState, "system_state"},
		{&v.RootfsType, "rootfs_fs_type"},
	} {
		if *x.to, err = k.symbols.addr(x.name); err != nil {
			return err
		}
	}
	if len(k.symbols.byName["xen_vcpu_info"]) > 0 { // CONFIG_XEN
		v.XenVCPUInfo, err = k.symbols.addr("xen_vcpu_info")
	}
	return err
}

func (k *builder) hooks(p *profile.Profile) (err error) {
	h := &p.Hooks
	for _, x := range []struct {
		to   *profile.Hook
		name string
	}{
		{&h.AppraiseMeasurement, "ima_appraise_measurement"},
		{&h.DigsigVerify, "integrity_digsig_verify"},
		{&h.ParseAddRule, "ima_parse_add_rule"},
		{&h.UpdatePolicy, "ima_update_policy"},
		{&h.BprmCheck, "ima_bprm_check"},
		{&h.BlockMmap, "blkdev_mmap"},
	} {
		if *x.to, err = k.hook(x.name); err != nil {
			return err
		}
	}
	return nil
}

func (k *builder) offsets(p *profile.Profile) (err error) {
	o := &p.Offsets
	for _, x := range []struct {
		to     *uint32
		member member
	}{
		{&o.FileInode, member{"file", "struct inode *", "f_inode", 8}},
		{&o.InodeSB, member{"inode", "struct super_block *", "i_sb", 8}},
		{&o.SBDev, member{"super_block", "dev_t", "s_dev", 4}},
		{&o.SBFlags, member{"super_block", "unsigned long", "s_iflags", 8}},
		{&o.SBType, member{"super_block", "struct file_system_type *", "s_type", 8}},
		{&o.BinprmFile, member{"linux_binprm", "struct file *", "file", 8}},
		{&o.AreaFlags, member{"vm_area_struct", "unsigned long|const vm_flags_t", "vm_flags", 8}}, // before 6.3 | from then on
	} {
		if *x.to, err = k.types.offset(x.member); err != nil {
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
	v.SystemRunning, err = k.types.value("system_states", "SYSTEM_RUNNING")
	return err
}
