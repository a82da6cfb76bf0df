// Package xen implements guest.Guest for domains of Xen. It runs in dom0.
//
// The package calls the hypervisor directly: it makes hypercalls through /dev/xen/privcmd with
// memory from /dev/xen/hypercall, waits on event channels through /dev/xen/evtchn, and looks up the
// names of domains in xenstore. The structures are those of xen/include/public. A table lists the
// releases of Xen whose structures have this layout; every other release is refused.
//
// The first unexpected error is kept. After it the package only pauses the domain, so that nothing
// depends on a step that failed.
//
// # Holding
//
// A trap replaces the nop at the entry of a kernel function. While the kernel starts, the entry
// holds a call, which the kernel later rewrites to the nop. A domain that was created paused (xl
// create -p) already has its kernel in memory. Hold writes a jump to itself behind the entry of
// sched_init, lets the domain run until it is there, and restores the code. The boot processor runs
// sched_init once, with interrupts off, after the rewriting and before any process. If this process
// ends meanwhile, the domain stays in the loop.
//
// # Two kinds of traps
//
// Debug is Xen's facility for debuggers. It needs a Xen that was built with CONFIG_GDBSX. A trap is a
// breakpoint (int3). A breakpoint in the kernel pauses the domain, and this package polls for that.
// Breakpoints and debug exceptions that do not belong to this package are returned to a PV guest: the
// package writes the stack frame that Xen would have written. Xen resets the extended state of a vCPU
// when its registers are set, so the package saves and restores that state.
//
// Monitor is the vm_event ring, which the Xen packages of distributions have, for HVM and PVH guests.
// A trap is an instruction that Xen intercepts: STR, INT3 or ICEBP. Only the vCPU that reached the
// trap waits. STR and ICEBP are followed by a jump back. So a guest that Xen does not watch, because
// it was restored elsewhere, hangs at the trap instead of continuing.
//
// # Memory
//
// The package maps frames of the guest and walks the guest's page tables itself. A mapped frame of a
// PV guest keeps its meaning as long as it is mapped. In other guests, root can exchange the memory
// behind a frame number with the balloon driver. Frames of those guests are therefore mapped again for
// each hit, all at once, namely the frames that the last hit of the same trap needed.
//
// # State in /run/vmseal
//
// Before the package writes a trap, it records the address in a file of the domain in /run/vmseal. The
// next process learns from it which traps are its own, and Release learns where to restore the code.
package xen
