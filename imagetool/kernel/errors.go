package kernel

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons for which a file has no profile.
var (
	ErrNotKernel     = errors.New("not a Linux kernel for x86-64 (bzImage or ELF)")
	ErrTooLarge      = errors.New("too large for a kernel")
	ErrCompression   = errors.New("compressed in an unknown way")
	ErrNoKallsyms    = errors.New("no symbol table (CONFIG_KALLSYMS) of a known layout")
	ErrNoDataSymbols = errors.New("the symbol table leaves out variables (no CONFIG_KALLSYMS_ALL)")
	ErrNoBTF         = errors.New("no type information (CONFIG_DEBUG_INFO_BTF)")
	ErrNoAppraisal   = errors.New("built without IMA appraisal (CONFIG_IMA_APPRAISE)")
	ErrNoLockdown    = errors.New("built without the lockdown of the kernel (CONFIG_SECURITY_LOCKDOWN_LSM)")
	ErrNoFentry      = errors.New("no call of __fentry__ at its entry (CONFIG_FUNCTION_TRACER)")
)

// Known says which kernels there are profiles of, for people: what decides is whether all
// that a profile needs is in the file as it is known.
const Known = "Linux 6.1 to 7.3 for x86-64 with IMA appraisal, BTF and kallsyms, as Debian builds them"

// An UnknownError says that there is no profile of a kernel, and why.
type UnknownError struct {
	Release string // as the file says; "" if it does not
	Reason  error
}

func (e *UnknownError) Error() string {
	this := "this one does not tell its release"
	if e.Release != "" {
		this = "this is " + e.Release
	}
	return fmt.Sprintf("%v (known are %s; %s)", e.Reason, Known, this)
}
func (e *UnknownError) Unwrap() error { return e.Reason }

// A SymbolError says that a name does not stand for one thing.
type SymbolError struct {
	Name  string
	Count int      // of symbols with this very name
	Like  []string // names that are the same up to a suffix of the compiler
}

func (e *SymbolError) Error() string {
	like := strings.Join(e.Like, ", ")
	switch {
	case e.Count > 1:
		return fmt.Sprintf("symbol %s is ambiguous: there are %d", e.Name, e.Count)
	case e.Count == 1:
		return fmt.Sprintf("symbol %s is ambiguous: the compiler also made %s", e.Name, like)
	case len(e.Like) > 0:
		return fmt.Sprintf("there is no symbol %s, only what the compiler made of it: %s", e.Name, like)
	}
	return fmt.Sprintf("there is no symbol %s", e.Name)
}

// A PrototypeError says that a function is not declared as it has to be.
type PrototypeError struct {
	Name  string
	Found string // in C
}

func (e *PrototypeError) Error() string {
	return fmt.Sprintf("the prototype of %s is not a known one: %s", e.Name, e.Found)
}

// A TypeError says that a type is not as it has to be.
type TypeError struct {
	Name   string // "struct inode"
	Reason string
}

func (e *TypeError) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Reason) }

// A BannerError says that a kernel tells its release in two ways.
type BannerError struct{ Banner, Release string }

func (e *BannerError) Error() string {
	return fmt.Sprintf("the banner %q is not that of release %q", e.Banner, e.Release)
}
