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

// locate sets the traps of a fresh guest: where it can be held, or while it boots.
func (e *Enforcer) locate() error {
	hold := e.config.Profile.Hold
	switch err := e.config.Guest.Hold(hold.Address, hold.Code); {
	case errors.Is(err, errors.ErrUnsupported):
		return e.glance()
	case err != nil:
		return fmt.Errorf("holding the guest: %w", err)
	}
	// Its first virtual CPU has made the entries of the functions what they are to be, and no
	// other runs yet.
	if err := e.checkKernel(e.memory(0)); err != nil {
		return err
	}
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
		s, err := e.run(glances)
		if err != nil {
			return err
		}
		if e.stopping.Load() {
			return errors.New("the enforcer was stopped before it had found the kernel")
		}
		found, err := e.search(s.Hit)
		if err == nil && !found {
			continue
		}
		if err == nil {
			err = e.guarded()
		}
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
	vcpus, err := e.config.Guest.VCPUs()
	if err != nil {
		return false, err
	}
	for i, r := range vcpus {
		switch {
		case r.CS == userCS || r.CS == user32CS || r.RIP >= upperHalf && r.CPL() == 3:
			return false, errors.New("user space runs before the kernel was found")
		case r.RIP >= upperHalf: // below are firmware, boot loader, and the kernel before it uses its own map
			e.saved.Slide, err = e.slideBelow(e.memory(i), r.RIP)
			if err == nil && !(hit && e.saved.Slide == 0) {
				err = e.checkEarly(e.memory(i))
			}
			return true, err
		}
	}
	return false, nil
}

// slideBelow finds where the kernel that rip is in lies, by its banner: no other text
// is like it, and it lies in read-only memory.
func (e *Enforcer) slideBelow(m *memory, rip uint64) (uint64, error) {
	p := e.config.Profile
	var ranges []*guest.Range
	lowest := p.Text&(alignment-1) + mapStart
	for text := lowest; rip >= mapStart && text <= rip && text-lowest < mapSize; text += alignment {
		ranges = append(ranges, span(p.Variables.Banner-p.Text+text, len(p.Banner)))
	}
	if err := m.try(ranges...); err != nil {
		return 0, err
	}
	for _, r := range ranges {
		if r.Err == nil && string(r.Buf) == p.Banner {
			return r.Addr - p.Variables.Banner, nil
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
	e.config.Event(fmt.Sprintf("found the kernel %s at %#x", e.config.Profile.Release, e.config.Profile.Text+e.saved.Slide))
	return nil
}
