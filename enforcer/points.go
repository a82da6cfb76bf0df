package enforcer

// A point is an interception point: a function of the kernel, and all that follows from
// trapping it. The table in README.md is made of these.
type point struct {
	function string // the name of its hook in the profile, and what the audit says
	phases   phases
	judge    func(*hit) error // decides, and leaves answer and record filled; an error freezes the guest
	decides  string           // in README.md
}

// phases are those in which a point is trapped. The trap of a point of both is there from
// beginning to end: a guest without it is not taken over.
type phases int

const (
	before phases = 1 << iota // until the policy is in force
	after
	both = before | after

	// plugging is the time after a guest has left its initramfs whose kernel has room for more virtual CPUs than have traps.
	plugging phases = 1 << 2
)

// points are all there are, four before and four after the policy is in force: a processor has that many registers for
// them. Emulation has more, and without a fifth one no guest may have room for virtual CPUs.
// Once a policy is in force, ima_update_policy is needed no more: the next policy would have no
// rule but by ima_parse_add_rule, and one without rules is refused (ima_check_policy).
var points []point

func init() { // what they decide by looks at them, too
	points = []point{
		{"security_bprm_check", before, (*hit).bprmCheck, "a program from outside the initramfs freezes the guest: without a policy nothing else would ever be hit"},
		{"ima_parse_add_rule", both, (*hit).parseRule, "each rule must be the next one of the pinned policy"},
		{"ima_update_policy", before, (*hit).updatePolicy, "all of its rules were seen, and this happens once"},
		{"ima_appraise_measurement", both, (*hit).appraise, "the path for the audit; no label, a digest, another disk or an unverifiable file system: denied"},
		{"integrity_digsig_verify", after, (*hit).digsigVerify, "the verdict: signature, digest, key, deny list"},
		{"blkdev_mmap", after, (*hit).blockMmap, "a block device is mapped executable: denied"},
		{"idle_thread_get", plugging, (*hit).startCPU, "a virtual CPU is to be started: the guest freezes if it was plugged in since the last stop"},
	}
}

// address is where the trap of a point lies in the running kernel.
func (e *Enforcer) address(p point) uint64 {
	return e.config.Profile.Hooks[p.function].Address + e.saved.Slide
}

// trapped gives the addresses of the points that are trapped in all of these phases, in this guest.
func (e *Enforcer) trapped(in phases) (addrs []uint64) {
	for _, p := range points {
		if p.phases&in == in || p.phases == plugging && e.saved.Room {
			addrs = append(addrs, e.address(p))
		}
	}
	return addrs
}

// plant sets the traps of the phase.
func (e *Enforcer) plant() error {
	now := before
	if e.saved.Phase >= enforcing {
		now = after
	}
	return e.config.Guest.Plant(e.trapped(now))
}
