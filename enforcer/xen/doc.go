// Package xen is a guest.Guest that is a domain of Xen, seen from a dom0.
//
// It speaks to the hypervisor itself: through /dev/xen/privcmd, with memory for
// hypercalls from /dev/xen/hypercall, event channels from /dev/xen/evtchn, and the names of
// domains from xenstore. The structures are those of xen/include/public; the releases
// that are known to have them so are in a table, and every other is refused.
//
// An error that is not expected is kept. From then on nothing is done to the domain but to pause
// it, so that no step is taken on the word of one that failed.
//
// # Holding
//
// A trap replaces the nop at the entry of a function of the kernel, which is a call until
// the kernel has rewritten it. A domain that was created paused (xl create -p) has its kernel in memory
// already. Hold puts a jump to itself behind the entry of sched_init, which the
// boot processor runs once, with interrupts off, after the rewriting and before any process;
// lets the domain run until it is there; and puts the code back. If this process ends
// meanwhile, the domain stays in the loop for good.
//
// # Two kinds of traps
//
// Debug is Xen's facility for debuggers, and needs a Xen that was built with CONFIG_GDBSX:
// a breakpoint in the kernel pauses the domain, which is polled for. Breakpoints and debug
// exceptions that are not ours are given back to a PV guest by the frame that Xen would
// have made on its stack. The extended state of the virtual CPU is carried around each
// change of its registers, of which Xen would reset it.
//
// Monitor is the ring of vm_event, which Xens of distributions have, for HVM and PVH guests. The
// trap is an instruction that Xen was told to stop at: STR, a breakpoint, or ICEBP. Only
// the virtual CPU that came to it waits. Behind STR and ICEBP is a jump back, so that a guest that Xen does
// not watch, because it was restored elsewhere, hangs where it would be appraised, and does not go on.
//
// # Memory
//
// The guest's frames are mapped, and its page tables are walked here. A mapped frame of a
// PV guest stays what it is for as long as it is mapped. The number of a frame of another guest
// can come to stand for another one, by the balloon driver, at the wish of its root:
// these are mapped anew for each hit, all at once that the last hit of the same trap has needed.
//
// # What stays behind
//
// Before a trap is written its place is noted in /run/vmseal, in a file of the domain, from which the next process knows
// which traps are its own, and Release where to put the code back.
package xen
