package enforcer

// A point is an interception point: a function of the kernel that is trapped. The table in
// README.md is generated from the points.
type point struct {
	function string // name of the hook in the profile, and in the audit
	phases   phases
	judge    func(*hit) error // decides and fills answer and record; an error freezes the guest
	decides  string           // text for README.md
}

// phases are the phases in which a point is trapped. A point of both phases is always trapped: a
// guest without that trap is not taken over.
type phases int

const (
	before phases = 1 << iota // until the policy is in force
	after
	both = before | after

	// hotplug begins when a guest leaves its initramfs, if its kernel can use more vCPUs than have
	// traps.
	hotplug phases = 1 << 2
)

// points lists all interception points. Four are trapped before the policy is in force and four
// after it, because a processor has four debug registers. Under emulation there are more; without a
// fifth, the kernel must not be able to use further vCPUs.
//
// Once a policy is in force, ima_update_policy needs no trap: another policy would need rules,
// which ima_parse_add_rule adds, and the kernel refuses a policy without rules (ima_check_policy).
var points []point

func init() { // the judge functions refer to points, too
	points = []point{
		{"security_bprm_check", before, (*hit).bprmCheck, "freezes the guest if a program outside the initramfs is executed: without a policy, no other trap would ever be hit"},
		{"ima_parse_add_rule", both, (*hit).parseRule, "freezes the guest unless the rule is the next one of the pinned policy"},
		{"ima_update_policy", before, (*hit).updatePolicy, "freezes the guest unless all rules of the pinned policy were loaded, and if this happens a second time"},
		{"ima_appraise_measurement", both, (*hit).appraise, "denies a file without a `security.ima` signature, on another disk, or on a file system whose contents may change unnoticed; reads the path for the audit"},
		{"integrity_digsig_verify", after, (*hit).digsigVerify, "gives the verdict about a signature: by key, digest and deny list"},
		{"blkdev_mmap", after, (*hit).blockMmap, "denies an executable mapping of a block device"},
		{"idle_thread_get", hotplug, (*hit).startCPU, "sets all traps anew before the kernel starts a vCPU; the guest freezes if a vCPU was plugged in since the last stop"},
	}
}

// address returns the address of a point's trap in the running kernel.
func (e *Enforcer) address(p point) uint64 {
	return e.config.Profile.Hooks[p.function].Address + e.saved.Slide
}

// trapped returns the addresses of the points that are trapped in all the given phases in this
// guest.
func (e *Enforcer) trapped(in phases) (addrs []uint64) {
	for _, p := range points {
		if p.phases&in == in || p.phases == hotplug && e.saved.Hotplug {
			addrs = append(addrs, e.address(p))
		}
	}
	return addrs
}

// plant sets the traps of the current phase.
func (e *Enforcer) plant() error {
	now := before
	if e.saved.Phase >= enforcing {
		now = after
	}
	return e.config.Guest.Plant(e.trapped(now))
}
