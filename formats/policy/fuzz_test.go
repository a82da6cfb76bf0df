package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzParse compares accepted policies with a model of the kernel, written after
// ima_parse_add_rule, ima_match_rules and ima_match_policy.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", least, least + others, "# c\n \t" + least, "dont_appraise fsmagic=0x9fa0\n" + least, "dont_appraise\n" + least,
		"appraise func=BPRM_CHECK uid>0 appraise_type=imasig #\n" + least, "measure func=MMAP_CHECK permit_directio\n" + least,
		"dont_appraise fsmagic=0x1021994\n" + least, least + "dont_appraise fsmagic=1cd1\r\n",
		"appraise func=BPRM_CHECK digest_type=verity appraise_type=sigv3\n" + least,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if want := kernelLines(text); !slices.Equal(p.Rules(), want) {
			t.Fatalf("rules %q, but the kernel reads %q", p.Rules(), want)
		}
		for _, line := range p.Rules() {
			if len(line) >= MaxRule || strings.ContainsAny(line, "\n\x00\\") {
				t.Errorf("rule %q", line)
			}
		}
		for _, u := range uses {
			if verdict := u.decide(p.Rules()); verdict != "signature" {
				t.Errorf("%+v: %s by policy %q", u, verdict, p.Rules())
			}
		}
	})
}

// kernelLines splits a text as the kernel does when it reads a policy from a file.
func kernelLines(text []byte) (rules []string) {
	for at := 0; at < len(text); {
		start := at
		for at < len(text) && text[at] != '\n' { // strsep
			at++
		}
		for start < at && (text[start] == ' ' || text[start] == '\t') { // strspn
			start++
		}
		if start < at && text[start] != '#' {
			rules = append(rules, string(text[start:at]))
		}
		at++
	}
	return rules
}

// A use is a use of a file that the kernel's policy decides about.
type use struct {
	function, mask, kind string
	uid                  string // user of the process and of the file
}

var uses = func() (all []use) {
	for _, kind := range []string{"ef53", "1021994", "858458f6", "958458f6", "794c7630", "65735546", "cafe4a11"} {
		for _, uid := range []string{"0", "1000"} {
			all = append(all, use{"BPRM_CHECK", "MAY_EXEC", kind, uid}, use{"MMAP_CHECK", "MAY_EXEC", kind, uid},
				use{"MODULE_CHECK", "MAY_READ", kind, uid})
		}
	}
	return all
}()

// decide returns the decision of the first matching rule. Unknown conditions of a rule count as not
// matching for signatures and as matching for exemptions.
func (u use) decide(rules []string) string {
	for _, rule := range rules {
		words := strings.FieldsFunc(rule, func(c rune) bool { return c == ' ' || c == '\t' })
		action, signature, unknown := "", false, false
		matches := true
		for _, w := range words {
			if w[0] == '#' {
				break
			}
			switch name, value, _ := strings.Cut(w, "="); {
			case w == "appraise", w == "dont_appraise":
				action = w
			case w == "permit_directio":
				return "anything with O_DIRECT"
			case name == "func":
				matches = matches && value == u.function
			case name == "mask":
				matches = matches && value == u.mask
			case name == "fsmagic":
				matches = matches && strings.TrimLeft(value, "0x") == u.kind
			case name == "uid", name == "fowner":
				matches = matches && value == u.uid
			case name == "appraise_type":
				signature = value == "imasig" || value == "sigv3"
			case name == "digest_type", name == "appraise_algos":
			default:
				unknown = true
			}
		}
		switch {
		case action == "dont_appraise" && matches:
			return fmt.Sprintf("exempt by %q", rule)
		case action == "appraise" && matches && !signature:
			return fmt.Sprintf("digest by %q", rule)
		case action == "appraise" && matches && !unknown:
			return "signature"
		}
	}
	return "nothing"
}
