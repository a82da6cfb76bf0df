package profile

import "encoding/json"

// Profile describes one build of a Linux kernel for x86-64, and what it has to be given.
type Profile struct {
	Release string `json:"release"`  // as uname -r gives it
	BuildID string `json:"build_id"` // of the ELF note, in hexadecimal
	Banner  string `json:"banner"`   // the text at linux_banner, with its newline
	Kernel  Bytes  `json:"kernel"`   // SHA-256 of the kernel's file
	Initrd  Bytes  `json:"initrd"`   // SHA-256 of the initrd's file; empty if it was not given

	Text    uint64 `json:"text"`     // _text, where the image of the kernel begins
	TextEnd uint64 `json:"text_end"` // _etext, behind its last instruction

	Hooks     map[string]Hook `json:"hooks"` // by HookNames
	Hold      Hold            `json:"hold"`
	Variables Variables       `json:"variables"`
	Offsets   Offsets         `json:"offsets"`
	Values    Values          `json:"values"`
	Build     json.RawMessage `json:"build"` // how the kernel was built (imagetool/kernel.Build): the enforcer does without

	// The code of the appraisal path, which does not change once user space runs, but for what is left out.
	Code []Function `json:"code"`

	// The rules of the IMA policy: the guest loads these, in this order, and no others.
	Policy []string `json:"policy"`
}

// MaxRule is how many bytes a rule may have, with its newline: as in formats/policy.
const MaxRule = 1024

// HookNames are the functions that the enforcer intercepts. A profile has a hook for each,
// and no others.
var HookNames = [...]string{
	"blkdev_mmap",                                                                                    // block/fops.c; from 6.17 on it is blkdev_mmap_prepare
	"idle_thread_get",                                                                                // kernel/smpboot.c
	"ima_appraise_measurement", "ima_parse_add_rule", "ima_update_policy", "integrity_digsig_verify", // security/integrity
	"security_bprm_check", // security/security.c
}

// Hook is where a function can be intercepted.
type Hook struct {
	Address   uint64 `json:"address"`   // of the 5-byte fentry nop: the entry of the function, or behind its ENDBR64
	Bytes     Bytes  `json:"bytes"`     // what lies there at run time
	Prototype string `json:"prototype"` // in C, from BTF
}

// Hold is where a fresh guest can be stopped to set its traps: in sched_init
// (kernel/sched/core.c), which runs once, when the kernel has made nops of the calls at
// the entries of its functions (start_kernel, init/main.c).
type Hold struct {
	Address uint64 `json:"address"` // of the instruction behind the nop at the entry
	Code    Bytes  `json:"code"`    // the first HoldSize bytes from there on, in the file
}

// HookSize is the length of what lies at a hook, a fentry nop.
const HookSize = 5

// HoldSize is the length of Hold.Code.
const HoldSize = 8

// Function is code that appraisal rests on.
type Function struct {
	Name    string `json:"name"`
	Address uint64 `json:"address"`
	Size    uint32 `json:"size"`    // in bytes, up to the next symbol
	Patched []Span `json:"patched"` // what the kernel itself may change at any time: fentry nop, static keys, static calls, lock prefixes
}

// Span is a part of a function, in bytes from its address on.
type Span struct {
	At   uint32 `json:"at"`
	Size uint32 `json:"size"`
}

// Variables are the addresses of variables of the kernel.
type Variables struct {
	Banner            uint64 `json:"linux_banner"`
	Appraise          uint64 `json:"ima_appraise"`        // int
	PolicyFlag        uint64 `json:"ima_policy_flag"`     // int
	KexecLoadDisabled uint64 `json:"kexec_load_disabled"` // int
	SystemState       uint64 `json:"system_state"`        // enum system_states
	RootfsType        uint64 `json:"rootfs_fs_type"`      // struct file_system_type
	LockedDown        uint64 `json:"kernel_locked_down"`  // enum lockdown_reason; 0 if the kernel has no lockdown
	Rules             uint64 `json:"ima_rules"`           // struct list_head *, the list that is in force
	PhysBase          uint64 `json:"phys_base"`           // unsigned long: the physical address of what is mapped at __START_KERNEL_map
	PossibleCPUs      uint64 `json:"__cpu_possible_mask"` // struct cpumask, of Values.CPUMask bytes
	XenVCPUInfo       uint64 `json:"xen_vcpu_info"`       // struct vcpu_info of the CPU whose gs base is added, from 6.15 on in the image of the kernel; 0 if there is none
}

// Offsets are those of members in bytes. The size of the member stands behind it.
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
	AreaFlags  uint32 `json:"blkdev_mmap.vm_flags"` // 8; of struct vm_area_struct, from 6.17 on of struct vm_area_desc
}

// Values are members of enumerations, and a size.
type Values struct {
	Funcs         map[string]uint32 `json:"ima_hooks"`      // enum ima_hooks by name, without NONE and MAX_CHECK
	IntegrityPass uint32            `json:"INTEGRITY_PASS"` // enum integrity_status
	IntegrityFail uint32            `json:"INTEGRITY_FAIL"`
	SystemRunning uint32            `json:"SYSTEM_RUNNING"`         // enum system_states
	LockIntegrity uint32            `json:"LOCKDOWN_INTEGRITY_MAX"` // enum lockdown_reason; 0 if the kernel has no lockdown
	CPUMask       uint32            `json:"struct cpumask"`         // its size in bytes, which is NR_CPUS / 8

	AreaArgument uint32 `json:"blkdev_mmap area"`             // which argument leads to the flags: 0 or 1
	DigsigAlgo   bool   `json:"integrity_digsig_verify algo"` // its last argument is a hash, and for version 3 the digest is the file's
}

// Names in Values.Funcs that mean something to the enforcer.
const FuncFile, FuncBprm, FuncPolicy = "FILE_CHECK", "BPRM_CHECK", "POLICY_CHECK"
