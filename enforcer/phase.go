package enforcer

import "fmt"

// phase is how far a guest has come. It only ever goes forward.
type phase int

const (
	booting        phase = iota // no policy; nothing from outside the initramfs may run
	policyComplete              // all rules were seen and the kernel may put them in force
	enforcing                   // the policy is in force
	initramfsLeft               // a program from outside was executed: initramfs files count no more
)

var phaseNames = [...]string{"booting", "policy-complete", "enforcing", "initramfs-left"}

// advance notes progress where a successor finds it, before the guest goes on.
func (e *Enforcer) advance(to phase) error {
	e.phase = to
	e.Event("the guest is " + phaseNames[to])
	return e.save()
}

func (e *Enforcer) save() error {
	err := e.State.Save(Saved{Guest: e.Guest.Identity(), Slide: e.slide, Phase: e.phase})
	if err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	return nil
}

// plant sets the traps of the phase: four, since a processor has that many
// registers for them. A policy that is in force needs no look at the next one: that has
// no rule but by ima_parse_add_rule, and one without rules is refused
// (ima_check_policy).
func (e *Enforcer) plant() error {
	h := &e.Profile.Hooks
	if e.phase < enforcing {
		return e.Guest.Plant(e.moved(h.AppraiseMeasurement, h.ParseAddRule, h.UpdatePolicy, h.BprmCheck))
	}
	return e.Guest.Plant(e.moved(h.AppraiseMeasurement, h.ParseAddRule, h.DigsigVerify, h.BlockMmap))
}
