package policy

import (
	"slices"
	"strings"
	"testing"
)

const (
	programs = "appraise func=BPRM_CHECK appraise_type=imasig"
	mappings = "appraise func=MMAP_CHECK mask=MAY_EXEC appraise_type=imasig"
	modules  = "appraise func=MODULE_CHECK appraise_type=imasig"
	others   = "appraise func=FIRMWARE_CHECK appraise_type=imasig\n" +
		"appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig\n" +
		"appraise func=KEXEC_INITRAMFS_CHECK appraise_type=imasig\n" +
		"appraise func=POLICY_CHECK appraise_type=imasig\n"
	least = programs + "\n" + mappings + "\n" + modules + "\n"
)

func TestRules(t *testing.T) {
	text := "# who, what, why: ünïcode\n\n \t\n" +
		" \tdont_appraise fsmagic=0x9fa0 \n" +
		"measure\tfunc=BPRM_CHECK pcr=11 # counted\n" +
		"   # not yet: appraise\n" +
		least + "audit func=BPRM_CHECK uid>0"
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dont_appraise fsmagic=0x9fa0 ", "measure\tfunc=BPRM_CHECK pcr=11 # counted",
		programs, mappings, modules, "audit func=BPRM_CHECK uid>0",
	}
	if !slices.Equal(p.Rules(), want) {
		t.Errorf("got %q, want %q", p.Rules(), want)
	}
}

func TestUnappraised(t *testing.T) {
	p, err := Parse([]byte(least + "appraise func=POLICY_CHECK fowner=0 appraise_type=imasig\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"FIRMWARE_CHECK", "KEXEC_KERNEL_CHECK", "KEXEC_INITRAMFS_CHECK", "POLICY_CHECK"}
	if got := p.Unappraised(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if p, err = Parse([]byte(least + others)); err != nil {
		t.Fatal(err)
	}
	if got := p.Unappraised(); got != nil {
		t.Errorf("got %q, want none", got)
	}
}

// TestAllowed adds a rule at the beginning of a policy that protects.
func TestAllowed(t *testing.T) {
	for _, line := range []string{
		"dont_appraise fsmagic=9fa0",
		"dont_appraise fsmagic=0x62656572",
		"dont_appraise fsmagic=63677270 #cgroup2",
		"appraise func=FILE_CHECK mask=MAY_READ fowner=0 appraise_type=imasig",
		"appraise func=FILE_CHECK mask=MAY_READ fowner=0",
		"appraise func=BPRM_CHECK fsuuid=3a9b1a4b-7c2e-4f0e-9df4-1b2a3c4d5e6f digest_type=verity appraise_type=sigv3",
		"appraise func=BPRM_CHECK appraise_type=imasig appraise_algos=sha256,sha512",
		"appraise appraise_type=imasig uid<1000 egid=0 fgroup>5 func=MMAP_CHECK",
		"measure func=FILE_CHECK mask=^MAY_READ uid=0 template=ima-sig",
		"measure func=KEY_CHECK keyrings=.ima",
		"dont_measure fsmagic=0x01021994",
		"audit func=BPRM_CHECK",
		"hash func=MODULE_CHECK",
		"dont_hash",
		strings.Repeat("# long ", 1000),
		"measure " + strings.Repeat(" ", MaxRule-1-len("measure ")),
	} {
		if _, err := Parse([]byte(line + "\n" + least)); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestRefused adds a rule at the beginning of a policy that protects without it.
func TestRefused(t *testing.T) {
	for line, want := range map[string]string{
		"appraise appraise_type=imasig":                                         "needs func=",
		"appraise fowner=0 appraise_type=imasig":                                "needs func=",
		"appraise #func=BPRM_CHECK appraise_type=imasig":                        "needs func=",
		"appraise func=BPRM_CHECK":                                              "a digest is no signature",
		"appraise func=BPRM_CHECK #appraise_type=imasig":                        "a digest is no signature",
		"appraise func=MODULE_CHECK appraise_type=imasig|modsig":                "a digest is no signature",
		"appraise func=BPRM_CHECK appraise_type=sigv3":                          "a digest is no signature",
		"appraise func=BPRM_CHECK digest_type=verity":                           "a digest is no signature",
		"appraise func=BPRM_CHECK digest_type=verity appraise_type=imasig":      "a digest is no signature",
		"appraise func=BPRM_CHECK appraise_type=sigv3 digest_type=verity":       "before appraise_type",
		"appraise func=BPRM_CHECK func=FILE_CHECK appraise_type=imasig":         "func is given twice",
		"appraise func=BPRM_CHECK uid=0 euid>5 appraise_type=imasig":            "uid is given twice",
		"appraise func=FILE_MMAP appraise_type=imasig":                          "not a known function",
		"appraise func=KEXEC_CMDLINE appraise_type=imasig":                      "not a known function",
		"appraise func=SETXATTR_CHECK appraise_algos=sha256":                    "not a known function",
		"appraise func=BPRM_CHECK appraise_type=imasig permit_directio":         "O_DIRECT",
		"measure func=BPRM_CHECK permit_directio":                               "O_DIRECT",
		"measure func=BPRM_CHECK digest_type=verity":                            "only appraise rules",
		"measure func=BPRM_CHECK appraise_type=imasig":                          "only appraise rules",
		"audit func=BPRM_CHECK pcr=10":                                          "only measure rules",
		"appraise func=BPRM_CHECK appraise_type=imasig appraise_flag=blacklist": "not a known option",
		"appraise func=BPRM_CHECK appraise_type=imasig obj_type=bin_t":          "not a known option",
		"appraise func=BPRM_CHECK appraise_type=imasig fsmagic>1":               "not a known option",
		"appraise func= appraise_type=imasig":                                   "not a known option",
		"appraise =":                                                            "not a known option",
		"appraise func":                                                         "not a known option",
		"appraise appraise":                                                     "not a known option",
		"func=BPRM_CHECK appraise":                                              "not an action",
		"Appraise func=BPRM_CHECK":                                              "not an action",
		"/etc/ima/ima-policy":                                                   "not an action",
		"dont_appraise":                                                         "fsmagic=NUMBER and nothing else",
		"dont_appraise func=BPRM_CHECK":                                         "fsmagic=NUMBER and nothing else",
		"dont_appraise fsname=proc":                                             "fsmagic=NUMBER and nothing else",
		"dont_appraise uid=0":                                                   "fsmagic=NUMBER and nothing else",
		"dont_appraise fsmagic=9fa0 func=FILE_CHECK":                            "fsmagic=NUMBER and nothing else",
		"dont_appraise fsmagic=proc":                                            "fsmagic=NUMBER and nothing else",
		"dont_appraise fsmagic=-1":                                              "fsmagic=NUMBER and nothing else",
		"dont_appraise fsmagic=9fa0 fsmagic=ef53":                               "fsmagic is given twice",
		"dont_appraise fsmagic=ef53":                                            "kind 0xef53",     // ext4
		"dont_appraise fsmagic=0x01021994":                                      "kind 0x1021994",  // tmpfs, devtmpfs
		"dont_appraise fsmagic=858458f6":                                        "kind 0x858458f6", // ramfs
		"dont_appraise fsmagic=958458f6":                                        "kind 0x958458f6", // hugetlbfs
		"dont_appraise fsmagic=794c7630":                                        "kind 0x794c7630", // overlayfs
		"dont_appraise fsmagic=65735546":                                        "kind 0x65735546", // FUSE
		"dont_appraise fsmagic=cafe4a11":                                        "kind 0xcafe4a11", // bpf
		"dont_appraise fsmagic=de5e81e4":                                        "kind 0xde5e81e4", // efivarfs
		"dont_appraise fsmagic=6165676c":                                        "kind 0x6165676c", // pstore
		"dont_appraise fsmagic=f97cff8c":                                        "kind 0xf97cff8c", // selinuxfs
		"dont_appraise fsmagic=5a3c69f0":                                        "kind 0x5a3c69f0", // AppArmor
		"dont_appraise fsmagic=10000000000009fa0":                               "fsmagic=NUMBER and nothing else",
		"dont_appraise fsmagic=9fa0\r":                                          "printable",
		"dont_appraise fsmagic=9fa0\x00":                                        "printable",
		"dont_appraise fsmagic=9fa0 # caf\u00e9":                                "printable",
		"measure label=a\\c":                                                    "backslash",
		"measure " + strings.Repeat(" ", MaxRule-len("measure ")):               "longer than 1023",
	} {
		_, err := Parse([]byte("# a comment\n" + line + "\n" + least))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "policy: line 2: ") {
			t.Errorf("%q: got %v, want line 2 and %q", line, err, want)
		}
	}
}

// TestUncovered tests rules that are harmless but not sufficient.
func TestUncovered(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "BPRM_CHECK",
		programs + "\n" + modules:    "MMAP_CHECK",
		programs + "\n" + mappings:   "MODULE_CHECK",
		"# " + least[len(programs):]: "BPRM_CHECK",
		strings.Replace(least, "func=BPRM_CHECK", "func=BPRM_CHECK fowner=0", 1):                                                            "BPRM_CHECK",
		strings.Replace(least, "func=BPRM_CHECK", "func=BPRM_CHECK mask=MAY_READ", 1):                                                       "BPRM_CHECK",
		strings.Replace(least, "func=BPRM_CHECK", "func=BPRM_CHECK mask=^MAY_EXEC", 1):                                                      "BPRM_CHECK",
		strings.Replace(least, "func=MODULE_CHECK", "func=MODULE_CHECK mask=MAY_EXEC", 1):                                                   "MODULE_CHECK",
		strings.Replace(least, "func=MMAP_CHECK", "func=MMAP_CHECK uid>0", 1):                                                               "MMAP_CHECK",
		strings.Replace(least, programs, strings.Replace(programs, "appraise_type=imasig", "digest_type=verity appraise_type=sigv3", 1), 1): "BPRM_CHECK",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.HasSuffix(err.Error(), "no rule appraises every file for "+want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestSize(t *testing.T) {
	text := []byte(least + strings.Repeat("#", MaxSize-len(least)))
	if _, err := Parse(text); err != nil {
		t.Error(err)
	}
	if _, err := Parse(append(text, '#')); err == nil {
		t.Error("a policy that is too large is accepted")
	}
}
