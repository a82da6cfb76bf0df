package kernel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// The prototypes that the enforcer knows how to read and answer, by function. They
// are compared with those of the kernel, never chosen by its version.
var prototypes = map[string][]string{
	"ima_appraise_measurement": {
		// before 6.9
		"int ima_appraise_measurement(enum ima_hooks func, struct integrity_iint_cache *iint, struct file *file, " +
			"const unsigned char *filename, struct evm_ima_xattr_data *xattr_value, int xattr_len, const struct modsig *modsig)",
		// from 6.9
		"int ima_appraise_measurement(enum ima_hooks func, struct ima_iint_cache *iint, struct file *file, " +
			"const unsigned char *filename, struct evm_ima_xattr_data *xattr_value, int xattr_len, const struct modsig *modsig)",
		// from 6.19, and in stable series
		"int ima_appraise_measurement(enum ima_hooks func, struct ima_iint_cache *iint, struct file *file, " +
			"const unsigned char *filename, struct evm_ima_xattr_data *xattr_value, int xattr_len, const struct modsig *modsig, bool bprm_is_check)",
	},
	"integrity_digsig_verify": {
		"int integrity_digsig_verify(const unsigned int id, const char *sig, int siglen, const char *digest, int digestlen)",
		digsigAlgo, // from 7.1
	},
	"ima_parse_add_rule": {"ssize_t ima_parse_add_rule(char *rule)"},
	"ima_update_policy":  {"void ima_update_policy(void)"},
	"idle_thread_get":    {"struct task_struct *idle_thread_get(unsigned int cpu)"},
	"blkdev_mmap":        {"int blkdev_mmap(struct file *file, struct vm_area_struct *vma)"},
	blkdevMmapPrepare:    {"int blkdev_mmap_prepare(struct vm_area_desc *desc)"}, // from 6.17

	// Of what it calls, ima_bprm_check would do, but its type is missing in some kernels.
	"security_bprm_check": {"int security_bprm_check(struct linux_binprm *bprm)"},
}

const (
	blkdevMmapPrepare = "blkdev_mmap_prepare"
	digsigAlgo        = "int integrity_digsig_verify(const unsigned int id, const char *sig, int siglen, const char *digest, int digestlen, u8 algo)"
)

// prototype gives the declaration of a function, which has to be a known one.
func (t *types) prototype(name string) (string, error) {
	var fn *btf.Func
	if err := t.spec.TypeByName(name, &fn); err != nil {
		return "", fmt.Errorf("type of function %s: %w", name, err)
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return "", &TypeError{"function " + name, "has no prototype"}
	}
	var params []string
	for _, p := range proto.Params {
		params = append(params, declare(p.Type, p.Name))
	}
	if len(params) == 0 {
		params = []string{"void"}
	}
	text := declare(proto.Return, name) + "(" + strings.Join(params, ", ") + ")"
	if !slices.Contains(prototypes[name], text) {
		return "", &PrototypeError{name, text}
	}
	return text, nil
}
