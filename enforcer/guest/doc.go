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
