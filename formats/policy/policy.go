package policy

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxSize is beyond what any policy takes; Parse refuses more.
	MaxSize = 1 << 16

	// MaxRule is how many bytes a rule may have, with its newline. The kernel takes
	// less than a page from one write (ima_write_policy); a shell, which is what
	// hands the rules over, is sure to write this much in one piece.
	MaxRule = 1024
)

// required are the functions for which every file must be appraised: programs,
// executable mappings, kernel modules; recommended those for which it should be.
var (
	required    = []string{"BPRM_CHECK", "MMAP_CHECK", "MODULE_CHECK"}
	recommended = []string{"FIRMWARE_CHECK", "KEXEC_KERNEL_CHECK", "KEXEC_INITRAMFS_CHECK", "POLICY_CHECK"}
)

// A Policy is a list of rules that protects.
type Policy struct {
	rules   []string
	covered map[string]bool // functions for which every file is appraised
}

// Parse reads the text of a policy. An error names the line and what is wrong with
// it.
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

// strange tells what no rule needs, and what a shell or a terminal might change or
// take for something else.
func strange(c rune) bool { return (c < ' ' || c > '~' || c == '\\') && c != '\t' }

// Rules gives the lines to hand to the kernel, one a write and in this order:
// without comments, empty lines, blanks in front and newlines.
func (p *Policy) Rules() []string { return p.rules }

// Unappraised gives the functions for which not every file is appraised and better
// were: of firmware, kexec and policy files.
func (p *Policy) Unappraised() (names []string) {
	for _, name := range recommended {
		if !p.covered[name] {
			names = append(names, name)
		}
	}
	return names
}
