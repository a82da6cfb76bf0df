// Package guest is what the enforcer asks of a hypervisor: traps at addresses of
// the guest's kernel, the registers of a virtual CPU that hit one, the guest's
// memory, and the answer.
//
// A backend (gdbstub, xen) implements Guest; guesttest has one that is only
// memory and registers. Whoever opens a guest owns it: a Guest is for one
// goroutine, except where a method says otherwise.
//
// # What every backend promises
//
// A guest is stopped when it was opened, and runs only inside Run, and between Answer
// and Run. A trap takes effect before the instruction at its address, on every virtual
// CPU. If the process ends at any moment, whatever it was doing, traps stay where they are and
// the next hit stops the virtual CPU for good, until somebody opens the guest
// again; the one way to let a guest run without traps is Release. A hit that was
// not answered happens again after that.
package guest

import (
	"errors"
	"time"
)

// ErrEnded is given, wrapped, when there is no guest any more: it was switched
// off, or its hypervisor ended.
var ErrEnded = errors.New("the guest has ended")

// ErrNotYet is given by Plant, wrapped, where the nop that a trap replaces is not in
// memory yet: a kernel makes it of a call while it starts. No trap is set then.
var ErrNotYet = errors.New("the kernel has not come so far yet")

// ErrMoved is given by Answer where somebody else has let the guest run since the hit, and another call
// stands there now, or none. Nothing was answered: the hit happens again.
var ErrMoved = errors.New("somebody has let the guest run before its hit was answered")

// Registers of one virtual CPU in 64-bit mode, as far as they are asked for: the arguments of a
// function, and where the CPU is.
type Registers struct {
	RAX, RDI, RSI, RDX, RCX, R8, R9, RSP, RIP uint64
	CS                                        uint16 // the selector
}

// CPL is the privilege level: 0 in the kernel, 3 in user space.
func (r *Registers) CPL() int { return int(r.CS & 3) }

// A Stop says that the guest does not run.
type Stop struct {
	VCPU int  // the virtual CPU that hit a trap, or one of them
	Hit  bool // it stands at an address given to Plant; else Run's time was over
	Regs Registers
	At   time.Time // when the backend learned of it
}

// A Range is memory to be read.
type Range struct {
	Addr uint64 // virtual, as the stopped virtual CPU sees it
	Buf  []byte // to be filled
	Err  error  // set by Read: nil, or why not all of Buf is filled
}

// An Answer says how the virtual CPU that hit a trap goes on.
type Answer struct {
	RAX, RSP uint64 // set only if Return
	RIP      uint64
	Return   bool // the function returns to RIP; else it runs on there
}

// Guest is a stopped virtual machine, or one inside Run.
type Guest interface {
	// Fresh reports whether the guest has not yet executed an instruction.
	Fresh() (bool, error)

	// Hold lets a fresh guest, the traps of which are to lie in its kernel's code, run up to
	// the instruction at addr, of which code is the first bytes, and stops it there, before
	// that instruction: while it starts, the kernel rewrites its code. The guest does not get
	// beyond it before the first Plant, and never if the process ends.
	// errors.ErrUnsupported, wrapped, says that the kernel has to be looked for while the guest
	// runs: its traps lie elsewhere, or it is not in memory yet (with firmware or boot loader).
	Hold(addr uint64, code []byte) error

	// Adopt takes over the traps that an earlier process has left at these addresses,
	// and tells where there were any. They may be gone until the next Plant.
	Adopt(addrs []uint64) (found []uint64, err error)

	// Plant sets traps at these addresses and removes all others. On an error other
	// than ErrNotYet the set of traps is not known, and the guest must not run on.
	Plant(addrs []uint64) error

	// Run lets the guest run until a virtual CPU hits a trap, or for the time
	// given (0: as long as it takes), and stops all virtual CPUs that could act
	// on what the caller reads. A stop that is neither is an error.
	Run(limit time.Duration) (Stop, error)

	// Read fills the ranges. Those that cannot be read get an Err of their own;
	// the returned error is for a backend that does not answer at all. However
	// many ranges there are, they cost one exchange.
	Read(vcpu int, ranges []*Range) error

	// ReadImage fills ranges of the kernel's image, whatever the virtual CPUs of the stopped guest
	// do: one that is in user space need not have the kernel mapped. An address and the distance make
	// a physical address. It fails, too, if a trap in the guest's memory is not where Plant has set it.
	ReadImage(distance uint64, ranges []*Range) error

	// Trapped gives the number of virtual CPUs if each has traps of its own, which one that is
	// plugged in later has not: that the list has changed is an error of Run. It is 0 if traps lie in
	// the guest's memory, for every virtual CPU that there will ever be.
	Trapped() int

	// VCPUs gives the registers of every virtual CPU of a stopped guest.
	VCPUs() ([]Registers, error)

	// Answer settles the hit of the last Stop and lets the guest run on. All that may
	// follow is Run, which waits for what comes next, or Freeze.
	Answer(s *Stop, a Answer) error

	// Freeze makes sure that the guest does not run, whatever happens to this
	// process.
	Freeze() error

	// Release removes all traps and lets the guest run unguarded.
	Release() error

	// Close gives the connection up, not the guest: traps stay, and a stopped
	// guest stays stopped.
	Close() error

	// Identity names this run of this guest, so that another process can know it
	// again: the same text for the same run, and never the same for another.
	// Empty if the backend cannot tell.
	Identity() string
}
