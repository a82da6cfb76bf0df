package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const blanks = " \t" // the kernel splits a rule at these

var actions = strings.Fields("appraise dont_appraise measure dont_measure audit hash dont_hash")

// actionOf maps each known option to the only action that may have it, or to "". It does not check
// values that do not matter here; the kernel does.
var actionOf = map[string]string{
	"func": "", "mask": "", "fsmagic": "", "fsname": "", "fsuuid": "", "uid": "", "gid": "", "fowner": "", "fgroup": "",
	"appraise_type": "appraise", "digest_type": "appraise", "appraise_algos": "appraise",
	"pcr": "measure", "template": "measure", "keyrings": "measure", "label": "measure",
}

var compared = strings.Fields("uid euid gid egid fowner fgroup") // also with < and >

// A rule is a parsed line.
type rule struct {
	action  string
	options map[string]string
}

func parseRule(line string) (rule, error) {
	words := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(blanks, c) })
	r := rule{words[0], map[string]string{}}
	if !slices.Contains(actions, r.action) {
		return r, fmt.Errorf("%s is not an action", r.action)
	}
	for _, word := range words[1:] {
		if word[0] == '#' { // the rest is a comment
			break
		}
		if err := r.add(word); err != nil {
			return r, fmt.Errorf("%s: %w", word, err)
		}
	}
	return r, nil
}

func (r rule) add(word string) error {
	if word == "permit_directio" {
		return errors.New("lets every file pass that is opened with O_DIRECT")
	}
	at := max(strings.IndexAny(word, "=<>"), 0)
	name, operator, value := word[:at], word[at], word[at+1:]
	compares := slices.Contains(compared, name)
	if name == "euid" || name == "egid" { // the kernel stores both in one place
		name = name[1:]
	}
	action, ok := actionOf[name]
	switch {
	case !ok || value == "" || operator != '=' && !compares:
		return errors.New("is not a known option")
	case action != "" && action != r.action:
		return fmt.Errorf("only %s rules may have it", action)
	case r.options[name] != "":
		return fmt.Errorf("%s is given twice", name)
	case name == "digest_type" && r.options["appraise_type"] != "":
		return errors.New("must come before appraise_type")
	}
	r.options[name] = value
	return nil
}

// exemptible are the kinds of file systems (include/uapi/linux/magic.h) whose files are all created
// by the kernel and can be neither executed nor loaded: they are noexec with any mount options, or
// the kernel cannot read files from them.
//
// It leaves out tmpfs, ramfs, devtmpfs, hugetlbfs, FUSE and bpf, where root can create files;
// overlayfs, which hides the files below it; and efivarfs, pstore, selinuxfs and the files of
// AppArmor, which return bytes that root has written.
var exemptible = map[uint64]string{
	0x9fa0: "proc", 0x62656572: "sysfs", 0x64626720: "debugfs", 0x74726163: "tracefs", 0x73636673: "securityfs",
	0x43415d53: "smackfs", 0x1cd1: "devpts", 0x42494e4d: "binfmt_misc", 0x27e0eb: "cgroup", 0x63677270: "cgroup2",
	0x6e736673: "nsfs",
}

// harmless returns an error if the rule could let an unsigned file pass.
func (r rule) harmless() error {
	switch r.action {
	case "appraise":
		return r.demandsSignature()
	case "dont_appraise":
		magic, err := strconv.ParseUint(strings.TrimPrefix(r.options["fsmagic"], "0x"), 16, 64)
		if err != nil || len(r.options) != 1 {
			return errors.New("an exemption must have fsmagic=NUMBER and nothing else")
		}
		if exemptible[magic] == "" {
			return fmt.Errorf("file systems of kind %#x may hold files that can be executed or loaded", magic)
		}
	}
	return nil
}

func (r rule) demandsSignature() error {
	if f := r.options["func"]; f == "" {
		return errors.New("appraise needs func=: without it, the kernel does not check other functions")
	} else if f != "FILE_CHECK" && f != "CREDS_CHECK" && !slices.Contains(required, f) && !slices.Contains(recommended, f) {
		return fmt.Errorf("%s is not a known function for appraise rules", f)
	}
	switch kind := r.options["appraise_type"] + " " + r.options["digest_type"]; {
	case kind == "imasig ", kind == "sigv3 verity":
		return nil
	case kind == " " && r.options["func"] == "FILE_CHECK":
		return nil // the enforcer decides whether a digest is enough for reading
	default:
		return errors.New("appraise needs appraise_type=imasig, or digest_type=verity appraise_type=sigv3: a digest is no signature")
	}
}

// appraisesAll reports whether the rule requires a signature over the contents of every file for
// its function.
func (r rule) appraisesAll() bool {
	if r.action != "appraise" || r.options["appraise_type"] != "imasig" {
		return false
	}
	for name, value := range r.options {
		switch name {
		case "func", "appraise_type", "appraise_algos":
		case "mask": // programs and mappings are checked with MAY_EXEC, others with MAY_READ
			if f := r.options["func"]; value != "MAY_EXEC" || f != "BPRM_CHECK" && f != "MMAP_CHECK" {
				return false
			}
		default:
			return false
		}
	}
	return true
}
