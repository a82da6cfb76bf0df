// Package guest defines what the enforcer needs from a hypervisor: traps at addresses of the
// guest's kernel, the registers of the vCPU that hit a trap, the guest's memory, and a way to
// answer the hit.
//
// A trap stops a vCPU before the instruction at an address. It is a hardware or software breakpoint
// on QEMU, and an intercepted instruction on Xen.
//
// The packages gdbstub and xen implement Guest. Package guesttest implements it with memory and
// registers only. Whoever opens a Guest owns it. A Guest is for one goroutine, except where a
// method says otherwise.
//
// # What every backend promises
//
// A guest is stopped when it is opened. It runs only inside Run, and between Answer and Run. A trap
// takes effect before the instruction at its address, on every vCPU.
//
// If the process ends at any moment, the traps stay. The next hit then stops the vCPU until
// somebody opens the guest again, and an unanswered hit happens again. Only Release lets a guest
// run without traps.
package guest

import (
	"errors"
	"time"
)

// ErrEnded is wrapped by errors that say that the guest no longer exists: it was switched off, or
// its hypervisor ended.
var ErrEnded = errors.New("the guest has ended")

// ErrNotYet is wrapped by an error of Plant if the kernel has not yet written the nop that a trap
// replaces: at the start the entry of a function holds a call. No trap was set then.
var ErrNotYet = errors.New("the kernel has not written the nop at the function's entry yet")

// ErrMoved is returned by Answer if somebody else has let the guest run since the hit, and the vCPU
// is no longer at that call. The hit was not answered and happens again.
var ErrMoved = errors.New("somebody let the guest run before the hit was answered")

// Registers are the registers of one vCPU in 64-bit mode that the enforcer needs: the arguments of
// a function, and the position.
type Registers struct {
	RAX, RDI, RSI, RDX, RCX, R8, R9, RSP, RIP uint64
	CS                                        uint16 // the selector
}

// CPL returns the current privilege level: 0 in the kernel, 3 in user space.
func (r *Registers) CPL() int { return int(r.CS & 3) }

// A Stop describes why the guest stopped.
type Stop struct {
	VCPU int  // the vCPU that hit a trap, or any vCPU
	Hit  bool // the vCPU is at an address given to Plant; otherwise Run's limit has passed
	Regs Registers
	At   time.Time // when the backend was notified
}

// A Range is memory to be read.
type Range struct {
	Addr uint64 // virtual address, as the stopped vCPU sees it
	Buf  []byte // filled by Read
	Err  error  // set by Read: nil, or why Buf is incomplete
}

// An Answer tells how the vCPU that hit a trap continues.
type Answer struct {
	RAX, RSP uint64 // used only if Return is set
	RIP      uint64
	Return   bool // the function returns to RIP; otherwise it continues at RIP
}

// Guest is a virtual machine that is stopped, except inside Run.
type Guest interface {
	// Fresh reports whether the guest has not yet executed an instruction.
	Fresh() (bool, error)

	// Hold lets a fresh guest run up to the instruction at addr and stops it before that
	// instruction. code is the beginning of the instruction's code. Backends that put traps into
	// the kernel's code need it, because the kernel rewrites its code while it starts. The guest
	// does not get beyond the instruction before the first Plant, and never if the process ends.
	//
	// If Hold returns an error that wraps errors.ErrUnsupported, the caller must find the kernel
	// while the guest runs: the traps are not in the kernel's code, or the kernel is not in memory
	// yet (firmware or boot loader).
	Hold(addr uint64, code []byte) error

	// Adopt takes over the traps that an earlier process left at these addresses, and returns the
	// addresses where there were any. The traps may be gone until the next Plant.
	Adopt(addrs []uint64) (found []uint64, err error)

	// Plant sets traps at these addresses and removes all others. After an error other than
	// ErrNotYet the set of traps is not known, and the guest must not run again.
	Plant(addrs []uint64) error

	// Run lets the guest run until a vCPU hits a trap or the limit has passed (0 for no limit). It
	// then stops every vCPU that could change what the caller reads. Any other stop is an error.
	Run(limit time.Duration) (Stop, error)

	// Read fills the ranges. A range that cannot be read gets an Err of its own. Read returns an
	// error only if the backend does not answer at all. It needs one exchange for any number of
	// ranges.
	Read(vcpu int, ranges []*Range) error

	// ReadImage fills ranges of the kernel's image, whatever the vCPUs of the stopped guest do: a
	// vCPU in user space need not have the kernel mapped. The physical address is the address plus
	// distance. ReadImage also fails if a trap in the guest's memory is not where Plant set it.
	ReadImage(distance uint64, ranges []*Range) error

	// Trapped returns the number of vCPUs if each has traps of its own. A vCPU that is plugged in
	// later has no traps, so Run returns an error if the list of vCPUs has changed. Trapped returns
	// 0 if traps are in the guest's memory, where they work for every vCPU.
	Trapped() int

	// VCPUs returns the registers of every vCPU of a stopped guest.
	VCPUs() ([]Registers, error)

	// Answer answers the hit of the last Stop and lets the guest run. Only Run, which waits for the
	// next stop, or Freeze may follow.
	Answer(s *Stop, a Answer) error

	// Freeze makes sure that the guest does not run, whatever happens to this process.
	Freeze() error

	// Release removes all traps and lets the guest run unguarded.
	Release() error

	// Close closes the connection and leaves the guest as it is: traps stay, and a stopped guest
	// stays stopped.
	Close() error

	// Identity returns a text that is always the same for this run of this guest and different for
	// every other, so that another process can recognize the guest. It is empty if the backend
	// cannot tell.
	Identity() string
}
