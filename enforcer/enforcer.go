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

// Config configures an Enforcer.
type Config struct {
	Guest   guest.Guest
	Profile *profile.Profile

	Device      Device // the only disk whose files may be used; 0 for any
	Writable    bool   // accept a system disk that the guest can write to
	AllowDigest bool   // accept a digest in security.ima for files that are only read
	NoLockdown  bool   // accept a kernel that is not locked down

	Heartbeat      time.Duration // maximum time between two checks of the guest's kernel; 0 for no checks
	StartLimit     time.Duration // maximum running time until the policy is in force; 0 for no limit
	InitramfsLimit time.Duration // maximum running time from then until a program outside the initramfs runs; 0 for no limit

	State         State             // progress that a take-over needs
	Audit         func(Record)      // receives each decision; must not block for long
	AuditComplete func() error      // returns an error if the audit has lost records and the guest must freeze; may be nil
	Event         func(text string) // receives progress messages
}

// FrozenError reports why the guest is frozen.
type FrozenError struct {
	Reason error
	Later  bool // the guest could not be stopped now; it freezes at its next appraisal
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

	saved    Saved             // the slide is unknown until the kernel is located
	adopted  bool              // this process took the guest over
	checked  bool              // checkKernel has succeeded
	next     int               // number of policy rules seen so far
	pending  map[uint64]Record // files whose signature is not verified yet, by address of the security.ima value
	last     links             // of the last file; likely the same for the next one
	beat     time.Time         // time of the next heartbeat
	ran      time.Duration     // running time in this phase
	stopping atomic.Bool
}

// New returns an Enforcer that guards the stopped guest of c with the signatures that t trusts.
func New(c Config, t *Trust) *Enforcer {
	e := &Enforcer{config: c, pending: map[uint64]Record{}}
	e.SetTrust(t)
	return e
}

// SetTrust replaces the trusted keys and the deny list from the next hit on. It may be called while
// Run is running.
func (e *Enforcer) SetTrust(t *Trust) { e.trust.Store(t) }

// Stop makes Run freeze the guest and return soon, if the kernel has not been located yet: without
// its traps the guest cannot be left alone. It may be called while Run is running.
func (e *Enforcer) Stop() { e.stopping.Store(true) }

// ErrNeverGuarded is returned by Run if the guest ended before its policy was in force.
var ErrNeverGuarded = errors.New("the guest ended before its IMA policy was in force: nothing was verified")

// Run guards the guest until it ends. It returns nil if the guest was guarded, ErrNeverGuarded if
// it ended before that, and otherwise a *FrozenError: the guest then stands still.
func (e *Enforcer) Run() error {
	err := e.begin()
	for err == nil || err == guest.ErrMoved { // after ErrMoved the hit happens again
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

// begin starts guarding: either from the guest's first instruction on, or by taking over a guest
// that another process guarded before and recorded in its state.
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
		return fmt.Errorf("the guest has run before, and it is not known whether it was guarded: %w", err)
	case id == "" || saved.Guest != id:
		return fmt.Errorf("the guest has run before, and the state belongs to another guest (%q, this is %q)", saved.Guest, id)
	case n != saved.VCPUs:
		return fmt.Errorf("the guest has %d vCPUs, but only %d had traps", n, saved.VCPUs)
	}
	if e.saved, e.adopted = saved, true; saved.Phase >= policyComplete {
		e.next = len(e.config.Profile.Policy)
	}
	found, err := g.Adopt(e.trapped(0))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(e.trapped(both), func(addr uint64) bool { return !slices.Contains(found, addr) }) {
		return errors.New("the guest has run without traps: it was released, or a debugger removed them")
	}
	e.config.Event("took over a guarded guest")
	return e.plant()
}

// hit decides about one hit. It reads the guest in at most two exchanges if the file lies on the
// same disk as the last one.
func (e *Enforcer) hit(s *guest.Stop) error {
	if s.Regs.CPL() == 3 {
		// User code that jumps to this address gets its page fault behind the trap. There are no
		// arguments to read.
		e.config.Audit(Record{VCPU: s.VCPU, Verdict: Jump})
		return e.config.Guest.Answer(s, guest.Answer{RIP: s.Regs.RIP + profile.HookSize})
	}
	i := slices.IndexFunc(points, func(p point) bool { return e.address(p) == s.Regs.RIP })
	if i < 0 {
		return fmt.Errorf("stopped at %#x, which is not an interception point", s.Regs.RIP)
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
		err = fmt.Errorf("%w, and the hit had already changed the recorded progress", err)
	} else if err == guest.ErrMoved {
		e.next = next
		return err
	}
	answer := time.Since(began) - h.spent - h.verify
	h.r.Spent = Spent{Registers: began.Sub(s.At), Memory: h.spent, Verify: h.verify, Answer: answer}
	e.config.Audit(h.r)
	return err
}
