package kernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/profile"
)

// Profile makes the profile of a kernel from its file, vmlinuz or vmlinux.
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
	symbols symbols
	types   *types
}

func newBuilder(elf []byte) (*builder, error) {
	m, err := parseImage(elf)
	if err != nil {
		return nil, err
	}
	list, err := kallsyms(m.section(".rodata"))
	if err != nil {
		return nil, err
	}
	s := indexSymbols(list)
	switch {
	case len(s["ima_appraise_measurement"]) == 0 && len(s.like("ima_appraise_measurement")) == 0:
		return nil, ErrNoAppraisal
	case !s.haveData():
		return nil, ErrNoDataSymbols
	}
	t, err := readTypes(m.section(".BTF"))
	if err != nil {
		return nil, err
	}
	return &builder{m, s, t}, nil
}

// profile is checked as a whole when it is written: see profile.Marshal.
func (k *builder) profile() (*profile.Profile, error) {
	p := new(profile.Profile)
	for _, step := range []func(*profile.Profile) error{k.variables, k.text, k.identity, k.hooks, k.offsets, k.values} {
		if err := step(p); err != nil {
			return nil, err
		}
	}
	return p, nil
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
	return nil
}

func (k *builder) text(p *profile.Profile) (err error) {
	if p.Text, err = k.symbols.addr("_text"); err != nil {
		return err
	}
	if p.TextEnd, err = k.symbols.addr("_etext"); err != nil {
		return err
	}
	p.TextBytes, err = k.image.read(p.Text, 16)
	return err
}

const (
	maxBanner = 512
	utsField  = 64 + 1 // __NEW_UTS_LEN and a NUL
)

// identity tells which kernel it is: release, banner and build id.
func (k *builder) identity(p *profile.Profile) (err error) {
	if p.Banner, err = k.image.text(p.Variables.Banner, maxBanner); err != nil {
		return fmt.Errorf("linux_banner: %w", err)
	}
	if p.Release, err = k.release(); err != nil {
		return fmt.Errorf("init_uts_ns: %w", err)
	}
	if !strings.HasPrefix(p.Banner, "Linux version "+p.Release+" (") || !strings.HasSuffix(p.Banner, "\n") {
		return fmt.Errorf("the banner %q is not that of release %q", p.Banner, p.Release)
	}
	id, err := k.image.buildID()
	p.BuildID = hex.EncodeToString(id)
	return err
}

// release reads what uname(2) will tell.
func (k *builder) release() (string, error) {
	at, err := k.symbols.addr("init_uts_ns")
	if err != nil {
		return "", err
	}
	const fields = 6
	name, err := k.types.offset("uts_namespace", "name", fields*utsField)
	if err != nil {
		return "", err
	}
	release, err := k.types.offset("new_utsname", "release", utsField)
	if err != nil {
		return "", err
	}
	text, err := k.image.text(at+uint64(name+release), utsField-1)
	if err == nil && text == "" {
		err = errors.New("the release is empty")
	}
	return text, err
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
		to              *uint32
		struct_, member string
		size            uint32
	}{
		{&o.FileInode, "file", "f_inode", 8},
		{&o.InodeSB, "inode", "i_sb", 8},
		{&o.SBDev, "super_block", "s_dev", 4},
		{&o.SBFlags, "super_block", "s_iflags", 8},
		{&o.SBType, "super_block", "s_type", 8},
		{&o.BinprmFile, "linux_binprm", "file", 8},
	} {
		if *x.to, err = k.types.offset(x.struct_, x.member, x.size); err != nil {
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
