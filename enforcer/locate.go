package enforcer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const (
	// Where a kernel may lie: it is linked for the first GiB of the map and moved
	// in steps of CONFIG_PHYSICAL_ALIGN (arch/x86/include/asm/page_64_types.h).
	mapStart  = 0xffffffff80000000
	mapSize   = 1 << 30
	alignment = 2 << 20

	upperHalf = 1 << 63

	// telling is how much of a banner tells kernels apart well enough to compare all
	// of it.
	telling = 64

	// Selectors of user space (__USER_CS, __USER32_CS in asm/segment.h).
	userCS, user32CS = 0x33, 0x23

	// glances is how long the guest runs at a time while its kernel is looked for.
	glances = 10 * time.Millisecond
)

// locate sets the traps of a fresh guest, in its kernel if that is in memory already.
func (e *Enforcer) locate() error {
	if h, ok := e.Guest.(guest.Holder); ok {
		err := h.Hold(e.Profile.Hold.Address, e.Profile.Hold.Code)
		if !errors.Is(err, errors.ErrUnsupported) {
			return e.held(err)
		}
	}
	return e.glance()
}

// held sets the traps of a guest that stands where its first virtual CPU has made the
// entries of the functions what they are to be, and where no other runs yet.
func (e *Enforcer) held(err error) error {
	if err != nil {
		return fmt.Errorf("holding the guest: %w", err)
	}
	if err := e.checkKernel(0); err != nil {
		return err
	}
	e.checked = true
	return e.guarded()
}

// glance lets the guest boot until its kernel has been found, and freezes it if
// that is another kernel, or is found too late. The traps are set from the first
// instruction on at the addresses of a kernel that was not moved (nokaslr), where the
// backend can do that before there is any code.
func (e *Enforcer) glance() error {
	if err := e.plant(); err != nil && !errors.Is(err, guest.ErrNotYet) {
		return err
	}
	for {
		s, err := e.Guest.Run(glances)
		if err != nil {
			return err
		}
		if e.stopping.Load() {
			return errors.New("the enforcer was stopped before it had found the kernel")
		}
		if s.Hit {
			if s.Regs.CPL() == 3 {
				return errors.New("user space runs before the kernel was found")
			}
			return e.located(0, &s)
		}
		found, vcpu, err := e.search()
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := e.located(vcpu, nil); !errors.Is(err, guest.ErrNotYet) {
			return err
		}
	}
}

// search looks at where the virtual CPUs are. One in the upper half of the address
// space runs a kernel, which must then be ours.
func (e *Enforcer) search() (found bool, vcpu int, err error) {
	vcpus, err := e.Guest.VCPUs()
	if err != nil {
		return false, 0, err
	}
	for i, r := range vcpus {
		if r.CS == userCS || r.CS == user32CS {
			return false, 0, errors.New("user space runs before the kernel was found")
		}
		if r.RIP < upperHalf {
			continue // firmware, boot loader, or the kernel before it uses its own map
		}
		e.slide, err = e.slideBelow(i, r.RIP)
		return err == nil, i, err
	}
	return false, 0, nil
}

// slideBelow finds where the kernel that rip is in lies, by its banner: no other text
// is like it, and it lies in read-only memory.
func (e *Enforcer) slideBelow(vcpu int, rip uint64) (uint64, error) {
	var ranges []guest.Range
	lowest := e.Profile.Text&(alignment-1) + mapStart
	for text := lowest; rip >= mapStart && text <= rip && text-lowest < mapSize; text += alignment {
		at := e.Profile.Variables.Banner - e.Profile.Text + text
		ranges = append(ranges, guest.Range{Addr: at, Buf: make([]byte, min(telling, len(e.Profile.Banner)))})
	}
	if err := e.Guest.Read(vcpu, ranges); err != nil {
		return 0, err
	}
	for _, r := range ranges {
		if r.Err == nil && strings.HasPrefix(e.Profile.Banner, string(r.Buf)) {
			return r.Addr - e.Profile.Variables.Banner, nil
		}
	}
	return 0, fmt.Errorf("a kernel that is not the profile's runs at %#x", rip)
}

// located sets the traps where they belong, provided that this is early enough:
// nothing of user space may have run without them. A hit, which can only be one at
// the kernel's own addresses, is answered as every other.
func (e *Enforcer) located(vcpu int, hit *guest.Stop) error {
	if hit != nil {
		vcpu = hit.VCPU
	}
	if err := e.checkBanner(vcpu); err != nil {
		return err
	}
	if hit == nil {
		if err := e.checkEarly(vcpu); err != nil {
			return err
		}
	}
	if err := e.guarded(); err != nil || hit == nil {
		return err
	}
	return e.hit(hit)
}

// guarded sets the traps of the kernel that was found.
func (e *Enforcer) guarded() error {
	if err := e.plant(); err != nil {
		return err
	}
	if err := e.save(); err != nil {
		return err
	}
	e.Event(fmt.Sprintf("found the kernel %s at %#x", e.Profile.Release, e.Profile.Text+e.slide))
	return nil
}

func (e *Enforcer) checkEarly(vcpu int) error {
	var state [4]byte
	if err := e.read(vcpu, guest.Range{Addr: e.Profile.Variables.SystemState + e.slide, Buf: state[:]}); err != nil {
		return fmt.Errorf("reading the state of the kernel: %w", err)
	}
	if n := binary.LittleEndian.Uint32(state[:]); n >= e.Profile.Values.SystemRunning {
		return fmt.Errorf("the kernel was found too late: user space may have run (system_state is %d)", n)
	}
	return nil
}
