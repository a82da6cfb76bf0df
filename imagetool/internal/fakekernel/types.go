package fakekernel

import "github.com/cilium/ebpf/btf"

// types are those of Linux 6.1, with the members that count.
func types() []btf.Type {
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
	disk := &btf.Struct{Name: "gendisk", Size: 128, Members: []btf.Member{
		{Name: "disk_name", Type: &btf.Array{Type: char, Index: u, Nelems: 32}, Offset: 8 * 12},
		{Name: "state", Type: ul, Offset: 8 * 64},
		{Name: "diskseq", Type: &btf.Typedef{Name: "u64", Type: &btf.Int{Name: "long long unsigned int", Size: 8}}, Offset: 8 * 120},
	}}
	bdev := &btf.Struct{Name: "block_device", Size: 64, Members: []btf.Member{{Name: "bd_disk", Type: to(disk), Offset: 8 * 24}}}
	sb := &btf.Struct{Name: "super_block", Size: 128, Members: []btf.Member{
		{Name: "s_dev", Type: dev, Offset: 8 * 16},
		{Name: "s_type", Type: to(fstype), Offset: 8 * 40},
		{Name: "s_iflags", Type: ul, Offset: 8 * 88},
		{Name: "s_bdev", Type: to(bdev), Offset: 8 * 96},
	}}
	inode := &btf.Struct{Name: "inode", Size: 64, Members: []btf.Member{{Name: "i_sb", Type: to(sb), Offset: 8 * 40}}}
	unnamed := &btf.Union{Size: 8, Members: []btf.Member{{Name: "f_inode", Type: to(inode)}}}
	file := &btf.Struct{Name: "file", Size: 64, Members: []btf.Member{{Type: unnamed, Offset: 8 * 32}}}
	bprm := &btf.Struct{Name: "linux_binprm", Size: 128, Members: []btf.Member{{Name: "file", Type: to(file), Offset: 8 * 64}}}
	vma := &btf.Struct{Name: "vm_area_struct", Size: 128, Members: []btf.Member{{Name: "vm_flags", Type: ul, Offset: 8 * 72}}}
	var fields []btf.Member
	for n, name := range []string{"sysname", "nodename", "release", "version", "machine", "domainname"} {
		fields = append(fields, btf.Member{Name: name, Type: &btf.Array{Type: char, Index: u, Nelems: UTSField}, Offset: btf.Bits(8 * n * UTSField)})
	}
	uts := &btf.Struct{Name: "new_utsname", Size: UTSFields * UTSField, Members: fields}
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
	lockdown := &btf.Enum{Name: "lockdown_reason", Size: 4, Values: []btf.EnumValue{{Name: "LOCKDOWN_NONE"}, {Name: "LOCKDOWN_INTEGRITY_MAX", Value: 21}}}
	mask := &btf.Struct{Name: "cpumask", Size: 1024, Members: []btf.Member{{Name: "bits", Type: &btf.Array{Type: ul, Index: u, Nelems: 128}}}}
	fn := func(name string, result btf.Type, params ...btf.FuncParam) btf.Type {
		return &btf.Func{Name: name, Type: &btf.FuncProto{Return: result, Params: params}}
	}
	named := func(name string) btf.Type { return to(&btf.Struct{Name: name, Size: 8}) }
	return []btf.Type{
		fstype, disk, bdev, sb, inode, file, bprm, vma, uts, ns, hooks, status, states, lockdown, mask,
		fn("ima_appraise_measurement", i, btf.FuncParam{Name: "func", Type: hooks}, btf.FuncParam{Name: "iint", Type: named("integrity_iint_cache")},
			btf.FuncParam{Name: "file", Type: to(file)}, btf.FuncParam{Name: "filename", Type: to(constant(uchar))},
			btf.FuncParam{Name: "xattr_value", Type: named("evm_ima_xattr_data")}, btf.FuncParam{Name: "xattr_len", Type: i},
			btf.FuncParam{Name: "modsig", Type: to(constant(&btf.Fwd{Name: "modsig"}))}),
		fn("integrity_digsig_verify", i, btf.FuncParam{Name: "id", Type: constant(u)}, btf.FuncParam{Name: "sig", Type: to(constant(char))},
			btf.FuncParam{Name: "siglen", Type: i}, btf.FuncParam{Name: "digest", Type: to(constant(char))}, btf.FuncParam{Name: "digestlen", Type: i}),
		fn("ima_parse_add_rule", ssize, btf.FuncParam{Name: "rule", Type: to(char)}),
		fn("ima_update_policy", &btf.Void{}),
		fn("security_bprm_check", i, btf.FuncParam{Name: "bprm", Type: to(bprm)}),
		fn("ima_file_mmap", i, btf.FuncParam{Name: "file", Type: to(file)}, btf.FuncParam{Name: "reqprot", Type: ul},
			btf.FuncParam{Name: "prot", Type: ul}, btf.FuncParam{Name: "flags", Type: ul}),
		fn("idle_thread_get", named("task_struct"), btf.FuncParam{Name: "cpu", Type: u}),
		fn("blkdev_mmap", i, btf.FuncParam{Name: "file", Type: to(file)}, btf.FuncParam{Name: "vma", Type: to(vma)}),
	}
}

func encodeTypes(types []btf.Type) ([]byte, error) {
	if types == nil {
		return nil, nil
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		return nil, err
	}
	return b.Marshal(nil, nil)
}
