package profile

import "encoding/json"

// Profile describes one build of a Linux kernel for x86-64, and what a guest boots and loads with
// it.
type Profile struct {
	Release string `json:"release"`  // output of uname -r
	BuildID string `json:"build_id"` // from the ELF note, in hexadecimal
	Banner  string `json:"banner"`   // text at linux_banner, with its newline
	Kernel  Bytes  `json:"kernel"`   // SHA-256 of the kernel file
	Initrd  Bytes  `json:"initrd"`   // SHA-256 of the initrd file; empty if it was not given

	Text    uint64 `json:"text"`     // _text, the beginning of the kernel's image
	TextEnd uint64 `json:"text_end"` // _etext, after its last instruction

	Hooks     map[string]Hook `json:"hooks"` // keys: HookNames
	Hold      Hold            `json:"hold"`
	Variables Variables       `json:"variables"`
	Offsets   Offsets         `json:"offsets"`
	Values    Values          `json:"values"`
	Build     json.RawMessage `json:"build"` // how the kernel was built (imagetool/kernel.Build); not used by the enforcer

	// The code of the appraisal path. Except for the patched places, it does not change once user
	// space runs.
	Code []Function `json:"code"`

	// The rules of the IMA policy. The guest loads exactly these, in this order.
	Policy []string `json:"policy"`
}

// MaxRule is the maximum length of a rule, including its newline, as in formats/policy.
const MaxRule = 1024

// HookNames are the functions that the enforcer traps. A profile has exactly one hook for each.
var HookNames = [...]string{
	"blkdev_mmap",                                                                                    // block/fops.c; since 6.17 it is blkdev_mmap_prepare
	"idle_thread_get",                                                                                // kernel/smpboot.c
	"ima_appraise_measurement", "ima_parse_add_rule", "ima_update_policy", "integrity_digsig_verify", // security/integrity
	"security_bprm_check", // security/security.c
}

// Hook is the place where a function can be trapped.
type Hook struct {
	Address   uint64 `json:"address"`   // address of the 5-byte fentry nop: at the function's entry, or after its ENDBR64
	Bytes     Bytes  `json:"bytes"`     // bytes at the address at run time
	Prototype string `json:"prototype"` // C prototype, from BTF
}

// Hold is the place where a fresh guest can be stopped to set its traps: in sched_init
// (kernel/sched/core.c). It runs once, after the kernel has replaced the calls at the entries of
// its functions with nops (start_kernel, init/main.c).
type Hold struct {
	Address uint64 `json:"address"` // address of the instruction after the nop at the entry
	Code    Bytes  `json:"code"`    // the first HoldSize bytes at the address, from the file
}

// HookSize is the length of a fentry nop in bytes.
const HookSize = 5

// HoldSize is the length of Hold.Code in bytes.
const HoldSize = 8

// Function is a function that appraisal depends on.
type Function struct {
	Name    string `json:"name"`
	Address uint64 `json:"address"`
	Size    uint32 `json:"size"`    // in bytes, up to the next symbol
	Patched []Span `json:"patched"` // places that the kernel may patch at any time: fentry nop, static keys, static calls, lock prefixes
}

// Span is a part of a function, at an offset in bytes.
type Span struct {
	At   uint32 `json:"at"`
	Size uint32 `json:"size"`
}

// Variables are the addresses of kernel variables.
type Variables struct {
	Banner            uint64 `json:"linux_banner"`
	Appraise          uint64 `json:"ima_appraise"`        // int
	PolicyFlag        uint64 `json:"ima_policy_flag"`     // int
	KexecLoadDisabled uint64 `json:"kexec_load_disabled"` // int
	SystemState       uint64 `json:"system_state"`        // enum system_states
	RootfsType        uint64 `json:"rootfs_fs_type"`      // struct file_system_type
	LockedDown        uint64 `json:"kernel_locked_down"`  // enum lockdown_reason; 0 if the kernel has no lockdown
	Rules             uint64 `json:"ima_rules"`           // struct list_head *: the list in force
	PhysBase          uint64 `json:"phys_base"`           // unsigned long: physical address of the memory mapped at __START_KERNEL_map
	PossibleCPUs      uint64 `json:"__cpu_possible_mask"` // struct cpumask, of Values.CPUMask bytes
	XenVCPUInfo       uint64 `json:"xen_vcpu_info"`       // offset of struct vcpu_info from a CPU's gs base, since 6.15 an address in the kernel's image; 0 without Xen support
}

// Offsets are the offsets of structure members in bytes. The comments give the sizes of the
// members.
type Offsets struct {
	FileInode  uint32 `json:"file.f_inode"`         // 8
	InodeSB    uint32 `json:"inode.i_sb"`           // 8
	SBDev      uint32 `json:"super_block.s_dev"`    // 4
	SBFlags    uint32 `json:"super_block.s_iflags"` // 8
	SBType     uint32 `json:"super_block.s_type"`   // 8
	SBBlock    uint32 `json:"super_block.s_bdev"`   // 8
	BlockDisk  uint32 `json:"block_device.bd_disk"` // 8
	DiskName   uint32 `json:"gendisk.disk_name"`    // 32
	DiskState  uint32 `json:"gendisk.state"`        // 8
	DiskSeq    uint32 `json:"gendisk.diskseq"`      // 8
	BinprmFile uint32 `json:"linux_binprm.file"`    // 8
	AreaFlags  uint32 `json:"blkdev_mmap.vm_flags"` // 8; in struct vm_area_struct, since 6.17 in struct vm_area_desc
}

// Values are values of enumerations, and properties of functions.
type Values struct {
	Funcs         map[string]uint32 `json:"ima_hooks"`      // enum ima_hooks by name, without NONE and MAX_CHECK
	IntegrityPass uint32            `json:"INTEGRITY_PASS"` // enum integrity_status
	IntegrityFail uint32            `json:"INTEGRITY_FAIL"`
	SystemRunning uint32            `json:"SYSTEM_RUNNING"`         // enum system_states
	LockIntegrity uint32            `json:"LOCKDOWN_INTEGRITY_MAX"` // enum lockdown_reason; 0 if the kernel has no lockdown
	CPUMask       uint32            `json:"struct cpumask"`         // size in bytes, NR_CPUS / 8

	AreaArgument uint32 `json:"blkdev_mmap area"`             // index of the argument that leads to the flags: 0 or 1
	DigsigAlgo   bool   `json:"integrity_digsig_verify algo"` // the last argument is a hash, and the digest for version 3 is the file's
}

// Names in Values.Funcs that the enforcer handles specially.
const FuncFile, FuncBprm, FuncPolicy = "FILE_CHECK", "BPRM_CHECK", "POLICY_CHECK"
