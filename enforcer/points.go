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
		{"security_bprm_check", before, (*hit).bprmCheck, "a program from outside the initramfs freezes the guest: without a policy nothing else would ever be hit"},
		{"ima_parse_add_rule", both, (*hit).parseRule, "each rule must be the next one of the pinned policy"},
		{"ima_update_policy", before, (*hit).updatePolicy, "all of its rules were seen, and this happens once"},
		{"ima_appraise_measurement", both, (*hit).appraise, "the path for the audit; no label, a digest, another disk or an unverifiable file system: denied"},
		{"integrity_digsig_verify", after, (*hit).digsigVerify, "the verdict: signature, digest, key, deny list"},
		{"blkdev_mmap", after, (*hit).blockMmap, "a block device is mapped executable: denied"},
		{"idle_thread_get", hotplug, (*hit).startCPU, "a virtual CPU is to be started: the guest freezes if it was plugged in since the last stop"},
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
