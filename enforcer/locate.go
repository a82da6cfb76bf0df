package enforcer

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

const (
	// Where a kernel may lie: it is linked into the first GiB of the kernel map, and KASLR moves it
	// in steps of CONFIG_PHYSICAL_ALIGN (arch/x86/include/asm/page_64_types.h).
	mapStart  = 0xffffffff80000000
	mapSize   = 1 << 30
	alignment = 2 << 20

	upperHalf = 1 << 63

	// Selectors of user space (__USER_CS, __USER32_CS in asm/segment.h).
	userCS, user32CS = 0x33, 0x23

	// pollInterval is how long the guest runs between two attempts to find its kernel.
	pollInterval = 10 * time.Millisecond
)

// locate sets the traps of a fresh guest: at the point where the backend holds it, or, if it cannot
// be held, while the guest boots.
func (e *Enforcer) locate() error {
	hold := e.config.Profile.Hold
	switch err := e.config.Guest.Hold(hold.Address, hold.Code); {
	case errors.Is(err, errors.ErrUnsupported):
		return e.findKernel()
	case err != nil:
		return fmt.Errorf("holding the guest: %w", err)
	}
	// The first vCPU has rewritten the functions' entries to their final form, and no other vCPU
	// runs yet.
	if err := e.checkKernel(e.memory(0)); err != nil {
		return err
	}
	return e.startGuarding()
}

// findKernel lets the guest boot until its kernel is found. It returns an error if that is another
// kernel, or if the kernel is found too late. If the backend can set traps before there is any
// code, it first sets them at the addresses of a kernel that is not moved (nokaslr), and answers
// their hits as usual.
func (e *Enforcer) findKernel() error {
	if err := e.plant(); err != nil && !errors.Is(err, guest.ErrNotYet) {
		return err
	}
	for {
		s, err := e.run(pollInterval)
		if err != nil {
			return err
		}
		if e.stopping.Load() {
			return errors.New("the enforcer was stopped before it found the kernel")
		}
		found, err := e.search(s.Hit)
		if err == nil && !found {
			continue
		}
		if err == nil {
			err = e.startGuarding()
		}
		if err == nil && s.Hit {
			return e.hit(&s)
		}
		if !errors.Is(err, guest.ErrNotYet) {
			return err
		}
	}
}

// search looks for the kernel at the addresses where the vCPUs are. A vCPU in the upper half of the
// address space runs a kernel. That must be the profile's kernel, and user space must not have run
// yet, because it would have run without traps. A hit in a kernel that is not moved shows that its
// traps were set from the beginning.
func (e *Enforcer) search(hit bool) (found bool, err error) {
	vcpus, err := e.config.Guest.VCPUs()
	if err != nil {
		return false, err
	}
	for i, r := range vcpus {
		switch {
		case r.CS == userCS || r.CS == user32CS || r.RIP >= upperHalf && r.CPL() == 3:
			return false, errors.New("user space ran before the kernel was found")
		case r.RIP >= upperHalf: // lower addresses: firmware, boot loader, early kernel
			e.saved.Slide, err = e.slideBelow(e.memory(i), r.RIP)
			if err == nil && !(hit && e.saved.Slide == 0) {
				err = e.checkEarly(e.memory(i))
			}
			return true, err
		}
	}
	return false, nil
}

// slideBelow returns how far the kernel that contains rip was moved. It searches for the banner, a
// unique text in read-only memory.
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

// startGuarding sets the traps of the located kernel and saves the state.
func (e *Enforcer) startGuarding() error {
	if err := e.plant(); err != nil {
		return err
	}
	if err := e.save(); err != nil {
		return err
	}
	e.config.Event(fmt.Sprintf("found the kernel %s at %#x", e.config.Profile.Release, e.config.Profile.Text+e.saved.Slide))
	return nil
}
