package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// parseRule answers ima_parse_add_rule(rule): each rule must be the next one of
// the pinned policy. The kernel looks at the first line of what it was given, without
// leading blanks.
func (h *hit) parseRule() error {
	if err := h.arguments(); err != nil {
		return err
	}
	rule, err := h.text(span(h.regs.RDI, 0), "\n\x00")
	e, rule := h.e, strings.TrimLeft(rule, " \t")
	switch rules := e.config.Profile.Policy; {
	case err != nil:
		return fmt.Errorf("rule: %w", err)
	case rule == "" || rule[0] == '#':
		return h.runsOn(Pass, "") // the kernel skips it
	case e.saved.Phase != booting:
		return fmt.Errorf("rule %q is loaded when the policy is complete", rule)
	case e.next == len(rules):
		return fmt.Errorf("rule %q is one more than the pinned policy has", rule)
	case rule != rules[e.next]:
		return fmt.Errorf("rule %q is loaded, rule %d of the pinned policy is %q", rule, e.next+1, rules[e.next])
	}
	e.next++
	return h.runsOn(Pass, fmt.Sprintf("rule %d of the pinned policy", e.next))
}

// updatePolicy answers ima_update_policy(void), by which the rules come into force.
// A predecessor may have died between noting that and answering.
func (h *hit) updatePolicy() error {
	if err := h.arguments(); err != nil {
		return err
	}
	e, posture := h.e, h.posture.check()
	switch n := len(e.config.Profile.Policy); {
	case e.saved.Phase > policyComplete, h.posture.inForce():
		return errors.New("a second policy is put in force")
	case e.next != n:
		return fmt.Errorf("a policy is put in force after %d of the %d rules of the pinned one", e.next, n)
	case posture != nil:
		return posture
	}
	if err := e.advance(policyComplete); err != nil {
		return err
	}
	return h.runsOn(Pass, "the pinned policy is complete")
}

// bprmCheck answers security_bprm_check(bprm), which is watched until the policy is in
// force: without one, nothing else would ever be hit.
func (h *hit) bprmCheck() error {
	o := &h.e.config.Profile.Offsets
	file := span(h.regs.RDI+uint64(o.BinprmFile), 8)
	if err := cmp.Or(h.arguments(file), file.Err); err != nil {
		return err
	}
	inode := span(value(file)+uint64(o.FileInode), 8)
	if err := h.read(inode); err != nil {
		return err
	}
	at, err := h.placeOf(inode)
	if err != nil {
		return err
	}
	if !at.initial && (h.e.saved.Phase < policyComplete || !h.posture.inForce()) {
		return errors.New("a program from outside the initramfs is executed, and no policy is in force")
	}
	return h.runsOn(Pass, "")
}
