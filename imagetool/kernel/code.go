package kernel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/profile"
)

// The code that lies between what a process asks for and IMA's verdict. Functions are
// chosen by name, with all that the compiler made of them:
//
//	security_*   the hooks that the rest of the kernel calls before it executes, maps or
//	             loads a file. They call IMA, through the list of LSMs or by themselves.
//	ima_*        security/integrity/ima: ima_bprm_check, ima_file_mmap and the like;
//	             process_measurement, which they call; whether a rule matches
//	             (ima_get_action, ima_match_policy), what is known of the inode
//	             (ima_inode_get, ima_get_cache_status), digest and signature of the file
//	             (ima_collect_measurement, ima_read_xattr, ima_appraise_measurement)
//	integrity_*  security/integrity: the same before 6.9 (integrity_inode_get), reading the
//	             file, and integrity_digsig_verify
//	blkdev_mmap  (blkdev_mmap_prepare from 6.17 on) that no block device is mapped executable
//	idle_thread_get  where the enforcer sees that a virtual CPU is to be started
//
// What they call of the rest of the kernel is not among it: reading from a disk, hashes,
// locks, memory. Nor is data: lists of hooks and rules, function pointers, page tables.
var (
	pathPrefixes = []string{"ima_", "integrity_"}
	pathOthers   = []string{"process_measurement", "xattr_verify", "blkdev_mmap", blkdevMmapPrepare, "idle_thread_get"}

	// lsmHooks are those through which IMA is asked (security/security.c).
	lsmHooks = []string{
		"security_bprm_check", "security_mmap_file", "security_file_mprotect", "security_file_post_open", // the last since 6.9
		"security_kernel_read_file", "security_kernel_post_read_file", "security_kernel_load_data", "security_kernel_post_load_data",
	}
)

// requiredCode is what the list would be worthless without.
var requiredCode = []string{
	"process_measurement", "ima_file_mmap", "ima_appraise_measurement", "integrity_digsig_verify",
	"security_bprm_check", "security_mmap_file", "security_kernel_read_file",
}

// cloned is the one of them that the compiler may have replaced: it is only called by IMA.
const cloned = "process_measurement"

const (
	maxFunction  = 1 << 16 // bytes, as in formats/profile
	maxFunctions = 1 << 12 // there are some 160
	maxCode      = 1 << 20 // bytes in all of them, of which there are some 45,000
)

// inPath reports whether a symbol is code of the appraisal path.
func inPath(kind byte, name string) bool {
	if strings.IndexByte("tTwW", kind) < 0 {
		return false
	}
	for _, prefix := range pathPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains(pathOthers, stem(name)) || isLSMHook(name)
}

func isLSMHook(name string) bool { return slices.Contains(lsmHooks, stem(name)) }

// code lists the functions with what is left out of them. Those that only run while the
// kernel starts are not in its text.
func (k *builder) code(p *profile.Profile) error {
	var list []*function
	for _, sym := range k.symbols.path {
		if sym.addr < p.Text || sym.addr >= p.TextEnd {
			continue
		}
		if n := len(list); n > 0 && list[n-1].addr == sym.addr {
			continue // another name of the same function
		}
		if sym.size == 0 || sym.size > maxFunction || len(list) == maxFunctions {
			return fmt.Errorf("function %s, of %d bytes, is too large, or one too many", sym.name, sym.size)
		}
		code, err := k.image.read(sym.addr, int(sym.size))
		if err != nil {
			return fmt.Errorf("function %s: %w", sym.name, err)
		}
		list = append(list, &function{symbol: sym, code: code})
	}
	for _, name := range requiredCode {
		if !hasFunction(list, name) {
			return &SymbolError{Name: name}
		}
	}
	if err := k.findSpots(list); err != nil {
		return err
	}
	for _, f := range list {
		patched, err := f.patched()
		if err != nil {
			return fmt.Errorf("function %s: %w", f.name, err)
		}
		p.Code = append(p.Code, profile.Function{Name: f.name, Address: f.addr, Size: uint32(f.size), Patched: patched})
	}
	return nil
}

func hasFunction(list []*function, name string) bool {
	return slices.ContainsFunc(list, func(f *function) bool { return isFunction(f.name, name) })
}

// isFunction reports whether a symbol is a function itself, and not only a part of it.
func isFunction(symbol, name string) bool {
	return symbol == name || name == cloned && stem(symbol) == name && !strings.Contains(symbol, ".cold") && !strings.Contains(symbol, ".part.")
}
