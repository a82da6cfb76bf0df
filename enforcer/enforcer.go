package enforcer

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// Config says what to keep, of which guest.
type Config struct {
	Guest   guest.Guest
	Profile *profile.Profile
	Rules   []string // of the policy: the guest loads these, in this order, and no others
	Trust   *Trust   // whose signatures count; see SetTrust

	Device      *Device // the one disk whose files may be used; nil for any
	AllowDigest bool    // a label with a digest only is good for reading

	State State             // what a successor has to know
	Audit func(Record)      // is handed each decision; must not block
	Event func(text string) // is told of milestones
}

// FrozenError says why the guest stands still.
type FrozenError struct {
	Reason error
	Later  bool // it could not be stopped, and will freeze at its next appraisal
}

func (e *FrozenError) Error() string {
	if e.Later {
		return "the guest freezes at its next appraisal: " + e.Reason.Error()
	}
	return "the guest is frozen: " + e.Reason.Error()
}
func (e *FrozenError) Unwrap() error { return e.Reason }

// Enforcer guards one guest.
type Enforcer struct {
	Config
	trust atomic.Pointer[Trust]

	slide    uint64             // how far the kernel lies from where it was linked for; unknown until it was located
	check    func(int) error    // compares the kernel with the profile, before the first hit counts; nil once that was done
	phase    phase              // how far the guest has come
	next     int                // rules of the policy that were seen
	awaited  map[uint64]awaited // files whose signature is yet to be verified, by the label's address
	supers   []uint64           // super blocks that were seen, of which the next hit is likely
	stopping atomic.Bool
}

// New prepares to guard the stopped guest.
func New(c Config) *Enforcer {
	e := &Enforcer{Config: c, awaited: map[uint64]awaited{}}
	e.check = e.checkKernel
	e.trust.Store(c.Trust)
	return e
}

// SetTrust changes whose signatures count, from the next hit on. It may be called
// while Run runs.
func (e *Enforcer) SetTrust(t *Trust) { e.trust.Store(t) }

// Stop freezes the guest if it cannot be left to its traps yet, since its kernel was not
// found. Run then returns soon. It may be called while Run runs.
func (e *Enforcer) Stop() { e.stopping.Store(true) }

// Run guards the guest until it ends, which is no error. A *FrozenError is the
// only other way in which it returns: the guest then stands still.
func (e *Enforcer) Run() error {
	err := e.begin()
	for err == nil {
		err = e.serve()
	}
	if errors.Is(err, guest.ErrEnded) {
		return nil
	}
	freeze := e.Guest.Freeze()
	return &FrozenError{Reason: err, Later: freeze != nil && !errors.Is(freeze, guest.ErrEnded)}
}

// serve waits for one hit and answers it.
func (e *Enforcer) serve() error {
	s, err := e.Guest.Run(0)
	if err != nil {
		return err
	}
	if !s.Hit {
		return errors.New("stopped without a hit")
	}
	return e.hit(&s)
}

// hit judges one hit. All that it reads of the guest costs at most two exchanges,
// once the file's super block is known.
func (e *Enforcer) hit(s *guest.Stop) error {
	if s.Regs.CPL() == 3 {
		// Whoever jumps here from user space gets the page fault that is due behind
		// the trap; there are no arguments to be read.
		e.Audit(Record{VCPU: s.VCPU, Verdict: Jump})
		return e.Guest.Answer(s, guest.Answer{RIP: s.Regs.RIP + nopSize})
	}
	if e.check != nil {
		if err := e.check(s.VCPU); err != nil {
			return err
		}
		e.check = nil
	}
	h := &hit{e: e, stop: s, began: time.Now()}
	h.r = Record{line: line{Time: h.began}, Hook: e.hookName(s.Regs.RIP), VCPU: s.VCPU}
	err := h.judge()
	if err != nil {
		h.r.Verdict, h.r.Reason = Freeze, err.Error()
	} else {
		err = e.Guest.Answer(s, h.answer)
	}
	h.r.Spent = Spent{
		Registers: h.began.Sub(s.At),
		Memory:    h.memory,
		Verify:    h.verify,
		Answer:    time.Since(h.began) - h.memory - h.verify,
	}
	e.Audit(h.r)
	return err
}

// begin takes the guest over: from its first instruction on, or from a process
// that guarded it before and said so in its state.
func (e *Enforcer) begin() error {
	fresh, err := e.Guest.Fresh()
	if err != nil {
		return err
	}
	if fresh {
		e.Event("attached before the guest's first instruction")
		return e.locate()
	}
	saved, err := e.State.Load()
	if err != nil {
		return fmt.Errorf("the guest has run before, and whether guarded is not known: %w", err)
	}
	if id := e.Guest.Identity(); id == "" || saved.Guest != id {
		return fmt.Errorf("the guest has run before, and the state is of another one (%q, this is %q)", saved.Guest, id)
	}
	e.phase = saved.Phase
	if e.phase >= policyComplete {
		e.next = len(e.Rules)
	}
	e.slide, e.check = saved.Slide, e.checkBanner // the guest may trace the functions by now
	h := &e.Profile.Hooks
	always := e.moved(h.AppraiseMeasurement, h.ParseAddRule)
	found, err := e.Guest.Adopt(append(e.moved(h.UpdatePolicy, h.BprmCheck, h.DigsigVerify, h.BlockMmap), always...))
	if err != nil {
		return err
	}
	if !slices.Contains(found, always[0]) || !slices.Contains(found, always[1]) {
		return errors.New("the guest has run without traps: it was released, or a debugger has removed them")
	}
	e.Event("took over a guarded guest")
	return e.plant()
}
