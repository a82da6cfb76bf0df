package policy

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxSize is the maximum size of a policy for Parse. It is far more than any policy needs.
	MaxSize = 1 << 16

	// MaxRule is the maximum length of a rule, including its newline. The kernel accepts less than
	// a page in one write (ima_write_policy). A shell writes the rules, and it writes this much in
	// one piece.
	MaxRule = 1024
)

// required are the functions for which every file must be appraised: programs, executable mappings
// and kernel modules. recommended are those for which every file should be appraised.
var (
	required    = []string{"BPRM_CHECK", "MMAP_CHECK", "MODULE_CHECK"}
	recommended = []string{"FIRMWARE_CHECK", "KEXEC_KERNEL_CHECK", "KEXEC_INITRAMFS_CHECK", "POLICY_CHECK"}
)

// A Policy is a list of rules that protects a guest.
type Policy struct {
	rules   []string
	covered map[string]bool // functions for which every file is appraised
}

// Parse parses a policy. Its error names the line and the reason.
func Parse(text []byte) (*Policy, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("policy: %d bytes, at most %d are allowed", len(text), MaxSize)
	}
	p := &Policy{covered: map[string]bool{}}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimLeft(line, blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.add(line); err != nil {
			return nil, fmt.Errorf("policy: line %d: %.80q: %w", i+1, line, err)
		}
	}
	for _, name := range required {
		if !p.covered[name] {
			return nil, fmt.Errorf("policy: no rule appraises every file for %s", name)
		}
	}
	return p, nil
}

func (p *Policy) add(line string) error {
	if len(line) >= MaxRule {
		return fmt.Errorf("longer than %d bytes", MaxRule-1)
	}
	if strings.ContainsFunc(line, strange) {
		return errors.New("holds a character that is not printable ASCII, or a backslash")
	}
	r, err := parseRule(line)
	if err == nil {
		err = r.harmless()
	}
	if err != nil {
		return err
	}
	p.rules = append(p.rules, line)
	if r.appraisesAll() {
		p.covered[r.options["func"]] = true
	}
	return nil
}

// strange reports characters that no rule needs and that a shell or a terminal might change or
// interpret.
func strange(c rune) bool { return (c < ' ' || c > '~' || c == '\\') && c != '\t' }

// Rules returns the lines to write to the kernel, one a write, in this order. They have no
// comments, no empty lines, no leading blanks and no newlines.
func (p *Policy) Rules() []string { return p.rules }

// Unappraised returns the recommended functions for which not every file is appraised: those for
// firmware, kexec and policy files.
func (p *Policy) Unappraised() (names []string) {
	for _, name := range recommended {
		if !p.covered[name] {
			names = append(names, name)
		}
	}
	return names
}
