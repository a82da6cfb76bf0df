package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vmseal/vmseal/formats/profile"
)

// Build is how a kernel was built, as far as that matters to its guards. It is for people and for what makes profiles.
type Build struct {
	KeepsPolicy      bool `json:"keeps_policy"`             // IMA's file of the policy stays after a policy was loaded
	ReadPolicy       bool `json:"CONFIG_IMA_READ_POLICY"`   // and can be read
	IBT              bool `json:"CONFIG_X86_KERNEL_IBT"`    // functions begin with ENDBR64
	ModuleDecompress bool `json:"CONFIG_MODULE_DECOMPRESS"` // the kernel unpacks modules itself
}

// BuildOf reads what a profile says of it.
func BuildOf(p *profile.Profile) (b Build, err error) {
	if err = json.Unmarshal(p.Build, &b); err != nil {
		err = fmt.Errorf("how the kernel was built: %w", err)
	}
	return b, err
}

// buildNames are the symbols that tell how a kernel was built:
//
//	ima_release_policy  calls securityfs_remove when a policy was loaded, unless
//	                    IMA_WRITE_POLICY or IMA_READ_POLICY keeps the file (ima_fs.c)
//	ima_policy_seqops   is there with IMA_READ_POLICY only (ima_fs.c)
//	module_decompress   with MODULE_DECOMPRESS (kernel/module/decompress.c)
var buildNames = []string{"ima_release_policy", "securityfs_remove", "ima_policy_seqops", "module_decompress"}

// build tells how the kernel was built. A kernel of
// which it is not clear that it removes the file of the policy counts as one that keeps it.
func (k *builder) build(p *profile.Profile) error {
	has := func(name string) bool { return len(k.symbols.byName[name]) > 0 }
	entry, err := k.symbols.addr("sched_init")
	if err != nil {
		return err
	}
	start, err := k.image.read(entry, len(endbr64))
	if err != nil {
		return err
	}
	p.Build, err = json.Marshal(Build{
		KeepsPolicy: !k.removesPolicy(), ReadPolicy: has("ima_policy_seqops"),
		IBT: bytes.Equal(start, endbr64), ModuleDecompress: has("module_decompress"),
	})
	return err
}

// removesPolicy looks for the call in the function and in what the compiler split off.
func (k *builder) removesPolicy() bool {
	remove, err := k.symbols.addr("securityfs_remove")
	if err != nil {
		return false
	}
	const release = "ima_release_policy"
	for _, name := range append(k.symbols.like(release), release) {
		for _, f := range k.symbols.byName[name] {
			code, err := k.image.read(f.addr, int(min(f.size, maxFunction)))
			if err == nil && calls(code, f.addr, remove) {
				return true
			}
		}
	}
	return false
}
