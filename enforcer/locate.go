package enforcer

import (
	"errors"
	"fmt"
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
	e.check = nil
	return e.guarded()
}

// glance lets the guest boot until its kernel has been found, and freezes it if
// that is another kernel, or is found too late. The traps are set from the first
// instruction on at the addresses of a kernel that was not moved (nokaslr), where the
// backend can do that before there is any code. A hit there is answered as every other.
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
		found, err := e.search(s.Hit)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		err = e.guarded()
		if err == nil && s.Hit {
			return e.hit(&s)
		}
		if !errors.Is(err, guest.ErrNotYet) {
			return err
		}
	}
}

// search looks at where the virtual CPUs are. One in the upper half of the address
// space runs a kernel, which must then be ours, and be found early enough: nothing of user
// space may have run without traps. A hit at the kernel's own place shows that they were
// there from the beginning.
func (e *Enforcer) search(hit bool) (found bool, err error) {
	vcpus, err := e.Guest.VCPUs()
	if err != nil {
		return false, err
	}
	for i, r := range vcpus {
		if r.CS == userCS || r.CS == user32CS || r.RIP >= upperHalf && r.CPL() == 3 {
			return false, errors.New("user space runs before the kernel was found")
		}
		if r.RIP < upperHalf {
			continue // firmware, boot loader, or the kernel before it uses its own map
		}
		e.slide, err = e.slideBelow(i, r.RIP)
		if err == nil && !(hit && e.slide == 0) {
			err = e.checkEarly(i)
		}
		return true, err
	}
	return false, nil
}

// slideBelow finds where the kernel that rip is in lies, by its banner: no other text
// is like it, and it lies in read-only memory.
func (e *Enforcer) slideBelow(vcpu int, rip uint64) (uint64, error) {
	var ranges []guest.Range
	lowest := e.Profile.Text&(alignment-1) + mapStart
	for text := lowest; rip >= mapStart && text <= rip && text-lowest < mapSize; text += alignment {
		at := e.Profile.Variables.Banner - e.Profile.Text + text
		ranges = append(ranges, guest.Range{Addr: at, Buf: make([]byte, len(e.Profile.Banner))})
	}
	if err := e.Guest.Read(vcpu, ranges); err != nil {
		return 0, err
	}
	for _, r := range ranges {
		if r.Err == nil && string(r.Buf) == e.Profile.Banner {
			return r.Addr - e.Profile.Variables.Banner, nil
		}
	}
	return 0, fmt.Errorf("a kernel that is not the profile's runs at %#x", rip)
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
	state := number(e.Profile.Variables.SystemState+e.slide, 4)
	if err := e.read(vcpu, state); err != nil {
		return fmt.Errorf("reading the state of the kernel: %w", err)
	}
	if n := uint32(value(state)); n >= e.Profile.Values.SystemRunning {
		return fmt.Errorf("the kernel was found too late: user space may have run (system_state is %d)", n)
	}
	return nil
}
