package enforcer

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	errPolicyOff     = errors.New("no IMA policy with appraisal is in force in the guest")
	errForeignPolicy = errors.New("another IMA policy than the pinned one is in force in the guest")
)

// parseRule answers ima_parse_add_rule(rule): each rule must be the next one of
// the pinned policy.
func (h *hit) parseRule() error {
	rule, err := h.rule(h.stop.Regs.RDI)
	if err != nil {
		return err
	}
	if len(rule) == 0 || rule[0] == '#' {
		h.pass() // the kernel skips it
		return nil
	}
	e := h.e
	switch rules := e.Rules; {
	case e.phase != booting:
		return fmt.Errorf("rule %q is loaded when the policy is complete", rule)
	case e.next == len(rules):
		return fmt.Errorf("rule %q is one more than the pinned policy has", rule)
	case string(rule) != rules[e.next]:
		return fmt.Errorf("rule %q is loaded, rule %d of the pinned policy is %q", rule, e.next+1, rules[e.next])
	}
	h.r.Reason = fmt.Sprintf("rule %d of the pinned policy", e.next+1)
	e.next++
	h.pass()
	return nil
}

// rule reads the first line of what the kernel was given, without leading blanks:
// it looks at no more (ima_parse_add_rule).
func (h *hit) rule(at uint64) ([]byte, error) {
	if _, err := h.read(); err != nil {
		return nil, err
	}
	text, err := h.text(at, nil, "\n\x00")
	if err != nil {
		return nil, fmt.Errorf("rule: %w", err)
	}
	return bytes.TrimLeft(text, " \t"), nil
}

// updatePolicy answers ima_update_policy(void), by which the rules come into force.
// A predecessor may have died between noting that and answering.
func (h *hit) updatePolicy() error {
	if _, err := h.read(); err != nil {
		return err
	}
	e := h.e
	switch n := len(e.Rules); {
	case e.phase > policyComplete, h.posture.inForce():
		return errors.New("a second policy is put in force")
	case e.next != n:
		return fmt.Errorf("a policy is put in force after %d of the %d rules of the pinned one", e.next, n)
	}
	if err := h.posture.check(); err != nil {
		return err
	}
	if err := e.advance(policyComplete); err != nil {
		return err
	}
	h.r.Reason = "the pinned policy is complete"
	h.pass()
	return nil
}

// bprmCheck answers ima_bprm_check(bprm), which is watched until the policy is in
// force: without one, nothing else would ever be hit.
func (h *hit) bprmCheck() error {
	o := &h.e.Profile.Offsets
	file, err := whole(h.read(pointer(h.stop.Regs.RDI + uint64(o.BinprmFile))))
	if err != nil {
		return err
	}
	inode, err := whole(h.more(pointer(word(file[0]) + uint64(o.FileInode))))
	if err != nil {
		return err
	}
	sb, err := h.superOf(word(inode[0]))
	if err != nil {
		return err
	}
	if !sb.initial && (h.e.phase < policyComplete || !h.posture.inForce()) {
		return errors.New("a program from outside the initramfs is executed, and no policy is in force")
	}
	h.pass()
	return nil
}
