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

	Device      Device // the one disk whose files may be used; 0 for any
	Writable    bool   // the system's disk may be one that the guest can write to
	AllowDigest bool   // a label with a digest only is good for reading
	NoLockdown  bool   // the kernel need not be locked down

	Heartbeat      time.Duration // so often, at least, the guest is looked at, hits or no hits; 0: never
	StartLimit     time.Duration // how long the guest may run before its policy is in force; 0: as long as it takes
	InitramfsLimit time.Duration // and how long from then on until a program outside the initramfs is executed

	State State             // what a successor has to know
	Audit func(Record)      // is handed each decision; must not block for long
	Whole func() error      // why a guest that has stopped must not go on, although nothing is wrong with it; nil: never
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
	config Config
	trust  atomic.Pointer[Trust]

	saved    Saved             // its slide is unknown until the kernel was located
	adopted  bool              // from another process
	checked  bool              // that the kernel is the profile's, before the first hit counts
	next     int               // rules of the policy that were seen
	awaited  map[uint64]Record // files whose signature is yet to be verified, by the label's address
	last     links             // of the last file; those of the next one are likely the same
	beat     time.Time         // when the guest is looked at next
	ran      time.Duration     // in this phase
	stopping atomic.Bool
}

// New prepares to guard the stopped guest by the signatures that t trusts.
func New(c Config, t *Trust) *Enforcer {
	e := &Enforcer{config: c, awaited: map[uint64]Record{}}
	e.SetTrust(t)
	return e
}

// SetTrust changes whose signatures count, from the next hit on. It may be called
// while Run runs.
func (e *Enforcer) SetTrust(t *Trust) { e.trust.Store(t) }

// Stop freezes the guest if it cannot be left to its traps yet, since its kernel was not
// found. Run then returns soon. It may be called while Run runs.
func (e *Enforcer) Stop() { e.stopping.Store(true) }

// ErrNeverGuarded is given by Run for a guest that has ended before its policy was in force.
var ErrNeverGuarded = errors.New("the guest has ended, and its IMA policy never came into force: nothing was verified")

// Run guards the guest until it ends, which is no error if it was guarded. A *FrozenError is the
// only other way in which it returns: the guest then stands still.
func (e *Enforcer) Run() error {
	err := e.begin()
	for err == nil || err == guest.ErrMoved { // whose hit happens again
		var s guest.Stop
		if s, err = e.run(e.untilBeat()); err == nil && time.Until(e.beat) <= 0 {
			err = e.heartbeat()
		}
		if err == nil && s.Hit {
			err = e.hit(&s)
		}
	}
	if errors.Is(err, guest.ErrEnded) {
		if e.saved.Phase < enforcing {
			return ErrNeverGuarded
		}
		return nil
	}
	freeze := e.config.Guest.Freeze()
	return &FrozenError{Reason: err, Later: freeze != nil && !errors.Is(freeze, guest.ErrEnded)}
}

// begin takes the guest over: from its first instruction on, or from a process
// that guarded it before and said so in its state.
func (e *Enforcer) begin() error {
	g := e.config.Guest
	fresh, err := g.Fresh()
	if err != nil {
		return err
	}
	e.saved.Guest, e.saved.VCPUs = g.Identity(), g.Trapped()
	if fresh {
		e.config.Event("attached before the guest's first instruction")
		return e.locate()
	}
	saved, err := e.config.State.Load()
	switch id, n := e.saved.Guest, e.saved.VCPUs; {
	case err != nil:
		return fmt.Errorf("the guest has run before, and whether guarded is not known: %w", err)
	case id == "" || saved.Guest != id:
		return fmt.Errorf("the guest has run before, and the state is of another one (%q, this is %q)", saved.Guest, id)
	case n != saved.VCPUs:
		return fmt.Errorf("the guest has %d virtual CPUs, of which %d had traps", n, saved.VCPUs)
	}
	if e.saved, e.adopted = saved, true; saved.Phase >= policyComplete {
		e.next = len(e.config.Profile.Policy)
	}
	found, err := g.Adopt(e.trapped(0))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(e.trapped(both), func(addr uint64) bool { return !slices.Contains(found, addr) }) {
		return errors.New("the guest has run without traps: it was released, or a debugger has removed them")
	}
	e.config.Event("took over a guarded guest")
	return e.plant()
}

// hit judges one hit. All that it reads of the guest costs at most two exchanges,
// if the file lies where the last one did.
func (e *Enforcer) hit(s *guest.Stop) error {
	if s.Regs.CPL() == 3 {
		// Whoever jumps here from user space gets the page fault that is due behind
		// the trap; there are no arguments to be read.
		e.config.Audit(Record{VCPU: s.VCPU, Verdict: Jump})
		return e.config.Guest.Answer(s, guest.Answer{RIP: s.Regs.RIP + profile.HookSize})
	}
	i := slices.IndexFunc(points, func(p point) bool { return e.address(p) == s.Regs.RIP })
	if i < 0 {
		return fmt.Errorf("stopped at %#x, which is no interception point", s.Regs.RIP)
	}
	if err := e.checkKernel(e.memory(s.VCPU)); err != nil {
		return err
	}
	began := time.Now()
	h := &hit{memory: e.memory(s.VCPU), e: e, point: points[i], regs: &s.Regs}
	h.r = Record{Time: began, Hook: h.function, VCPU: s.VCPU}
	phase, next := e.saved.Phase, e.next
	err := h.judge(h)
	if err == nil && e.saved.Phase != phase {
		err = e.plant()
	}
	if err != nil {
		h.r.Verdict, h.r.Reason = Freeze, err.Error()
	} else {
		err = e.config.Guest.Answer(s, h.answer)
	}
	if err == guest.ErrMoved && e.saved.Phase != phase {
		err = fmt.Errorf("%w, which has changed what is known of it", err)
	} else if err == guest.ErrMoved {
		e.next = next
		return err
	}
	answer := time.Since(began) - h.spent - h.verify
	h.r.Spent = Spent{Registers: began.Sub(s.At), Memory: h.spent, Verify: h.verify, Answer: answer}
	e.config.Audit(h.r)
	return err
}
