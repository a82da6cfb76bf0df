package kernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vmseal/vmseal/formats/profile"
)

const (
	maxPerCPU  = 1 << 24 // the area of one CPU has some 200 KiB
	maxOffset  = 1 << 16 // no structure here is larger
	maxCPUMask = 1 << 13 // NR_CPUS is 8192 at most
	maxReason  = 1 << 10 // reasons for lockdown are numbers up to some 30
	maxRelease = 128
	maxBuildID = 64 // bytes
)

// requiredFuncs are those that every kernel has (enum ima_hooks, ima.h).
var requiredFuncs = strings.Fields(`FILE_CHECK MMAP_CHECK BPRM_CHECK MODULE_CHECK FIRMWARE_CHECK
	KEXEC_KERNEL_CHECK KEXEC_INITRAMFS_CHECK POLICY_CHECK`)

// check refuses a profile with something missing, or that cannot be true. Nobody does
// so again: what is signed is taken for true.
func check(p *profile.Profile) error {
	switch {
	case p.Release == "" || len(p.Release) > maxRelease || !utf8.ValidString(p.Release):
		return errors.New("release is missing, too long or not text")
	case !isBuildID(p.BuildID):
		return errors.New("build id is missing, too long or not lower-case hexadecimal")
	case p.Banner == "" || len(p.Banner) > maxBanner || !utf8.ValidString(p.Banner):
		return errors.New("banner is missing, too long or not text")
	case p.Text < kernelMap || p.TextEnd <= p.Text:
		return fmt.Errorf("text from %#x to %#x is not that of a kernel", p.Text, p.TextEnd)
	}
	for _, step := range []func(*profile.Profile) error{checkHooks, checkHold, checkVariables, checkOffsets, checkValues, checkLockdown, checkCode} {
		if err := step(p); err != nil {
			return err
		}
	}
	return nil
}

func isBuildID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) > 0 && len(b) <= maxBuildID && hex.EncodeToString(b) == id
}

// checkHooks also makes sure that no hook reaches into another.
func checkHooks(p *profile.Profile) error {
	const size = profile.HookSize
	for i, name := range profile.HookNames {
		h := p.Hooks[name]
		if h.Address < p.Text || h.Address > p.TextEnd-size || len(h.Bytes) != size || h.Prototype == "" || !utf8.ValidString(h.Prototype) {
			return fmt.Errorf("hook %s is not complete or not in the text", name)
		}
		for _, other := range profile.HookNames[:i] {
			if at := p.Hooks[other].Address; max(h.Address, at)-min(h.Address, at) < size {
				return fmt.Errorf("hooks %s and %s lie at one place", other, name)
			}
		}
	}
	return nil
}

func checkHold(p *profile.Profile) error {
	const size = profile.HoldSize
	if h := &p.Hold; h.Address < p.Text || h.Address > 1<<64-1-size || len(h.Code) != size {
		return fmt.Errorf("where the guest is held, at %#x, is not in the kernel, or not %d bytes are known", h.Address, size)
	}
	return nil
}

func checkVariables(p *profile.Profile) error {
	for name, at := range fields[uint64](&p.Variables) {
		inKernel := *at >= p.Text && *at <= 1<<64-1-maxBanner
		none := name == perCPU && *at < maxPerCPU || name == lockedDown && *at == 0
		if !inKernel && !none {
			return fmt.Errorf("%s at %#x is not in the kernel", name, *at)
		}
	}
	return nil
}

func checkOffsets(p *profile.Profile) error {
	for name, n := range fields[uint32](&p.Offsets) {
		if *n > maxOffset {
			return fmt.Errorf("%s at %d is in no structure", name, *n)
		}
	}
	return nil
}

func checkValues(p *profile.Profile) error {
	v := &p.Values
	seen := map[uint32]string{}
	for name, n := range v.Funcs {
		if !utf8.ValidString(name) {
			return errors.New("the name of a function is not text")
		}
		if other, ok := seen[n]; ok {
			return fmt.Errorf("%s and %s are both %d", name, other, n)
		}
		seen[n] = name
	}
	for _, name := range requiredFuncs {
		if _, ok := v.Funcs[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if v.IntegrityPass == v.IntegrityFail || v.SystemRunning == 0 {
		return errors.New("values of integrity_status or system_states are missing")
	}
	if v.CPUMask == 0 || v.CPUMask > maxCPUMask {
		return fmt.Errorf("a set of CPUs has %d bytes", v.CPUMask)
	}
	return nil
}

// checkLockdown wants both, or for a kernel without lockdown neither.
func checkLockdown(p *profile.Profile) error {
	if n := p.Values.LockIntegrity; n > maxReason || (n == 0) != (p.Variables.LockedDown == 0) {
		return fmt.Errorf("lockdown at %#x for integrity at %d cannot be", p.Variables.LockedDown, n)
	}
	return nil
}

// checkCode wants functions one behind the other, and in each of them spans.
func checkCode(p *profile.Profile) error {
	end, bytes := p.Text, 0
	for _, f := range p.Code {
		if !utf8.ValidString(f.Name) || f.Size == 0 || f.Size > maxFunction || f.Address < end || f.Address >= p.TextEnd || uint64(f.Size) > p.TextEnd-f.Address {
			return fmt.Errorf("function %q, %d bytes at %#x, is too large, not in the text or not behind the one before", f.Name, f.Size, f.Address)
		}
		end, bytes = f.Address+uint64(f.Size), bytes+int(f.Size)
		if err := checkSpans(f); err != nil {
			return err
		}
	}
	if len(p.Code) > maxFunctions || bytes > maxCode {
		return fmt.Errorf("the appraisal path has %d functions of %d bytes, which is too much", len(p.Code), bytes)
	}
	for _, name := range requiredCode {
		if !slices.ContainsFunc(p.Code, func(f profile.Function) bool { return isFunction(f.Name, name) }) {
			return fmt.Errorf("function %s is missing", name)
		}
	}
	return nil
}

func checkSpans(f profile.Function) error {
	end := uint64(0)
	for _, s := range f.Patched {
		if s.Size == 0 || uint64(s.At) < end || uint64(s.At)+uint64(s.Size) > uint64(f.Size) {
			return fmt.Errorf("function %s: %d bytes at %d are not in it, or not behind those before", f.Name, s.Size, s.At)
		}
		end = uint64(s.At) + uint64(s.Size)
	}
	return nil
}
